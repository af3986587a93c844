"""Encoders of images alone, their projections, and what follows them by momentum.

Shapes: N images, F width of the backbone, D dim of the projection.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Images, Inputs, OutputRows
from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.contrastive.losses.queues import KeyQueue, follow
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD


class ImageEncoder(nn.Module):
    """A backbone of timm; an image is its pooled feature.

    Args:
        backbone: timm's name.
        mean, std: by which the pixels that it was trained on were normalised, per channel.

    Raises:
        UserError: timm has no such backbone.
    """

    def __init__(
        self, backbone: str, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        import timm

        if not timm.is_model(backbone.split(".")[0]):
            raise UserError(f"timm has no backbone {backbone!r}{nearest(backbone, timm.list_models())}")
        self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        self.dim = cast(int, self.backbone.num_features)
        self.mean, self.std = mean, std

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The features of images, [N, F], as rows and as pooled vectors."""
        features: Tensor = self.backbone(inputs.required("images", Images).pixels)
        states = {"images": features[output_rows["images"]]} if output_rows.wants("images") else {}
        return Encoded(states, features if output_rows.pooled else features[:0])


def projection_head(width: int, dim: int) -> nn.Sequential:
    """Two layers with ReLU between (Chen et al. 2020, SimCLR, section 2.1), [N, F] -> [N, D]."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))


class MomentumQueue(nn.Module):
    """The projection of MoCo v2, and encoder, projection and keys that follow without gradient (He et al. 2020).

    Args:
        encoder: what is followed.
        dim: D.
        queue_size: number of keys.
    """

    def __init__(self, encoder: ImageEncoder, *, dim: int = 128, queue_size: int = 65536) -> None:
        super().__init__()
        self.projection = projection_head(encoder.dim, dim)
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        self.slow_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.queue = KeyQueue(queue_size, dim)

    def follow(self, encoder: nn.Module, momentum: float) -> None:
        """Move the key encoder and its projection towards the trained ones."""
        follow(self.slow, encoder, momentum)
        follow(self.slow_projection, self.projection, momentum)
