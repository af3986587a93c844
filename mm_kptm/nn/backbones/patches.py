"""Patches of raw pixels as a backbone.

Shapes: B pictures of h x w pixels, H x W cells, F features of a cell.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.backbone import Backbone, ImageFormat


class PatchBackbone(Backbone):
    """Square patches of raw pixels on -1..1, without a network: the input of ViT and ViLT (Kim et al. 2021, section 3).

    Args:
        size: side of the pictures in pixels.
        patch: side of a patch in pixels; divides ``size``.

    Raises:
        UserError: ``patch`` does not divide ``size``.
    """

    def __init__(self, *, size: int = 224, patch: int = 32) -> None:
        super().__init__()
        if patch < 1 or size % patch:
            raise UserError(f"pictures of {size} pixels cannot be cut into patches of {patch}; take a divisor")
        self.dim = self.pooled_dim = 3 * patch * patch
        self.stride = patch
        self.any_size = True
        self.image_format = ImageFormat(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def forward(self, pixels: Tensor) -> Tensor:
        """The flattened pixels of every patch, channel by channel, [B, 3, h, w] -> [B, H, W, F]."""
        height, width = pixels.shape[-2:]
        if height % self.stride or width % self.stride:
            raise UserError(
                f"pictures of {height} x {width} pixels cannot be cut into patches of {self.stride}; resize them"
            )
        cut = functional.unfold(pixels, self.stride, stride=self.stride)  # [B, F, H * W]
        return cut.mT.unflatten(1, (height // self.stride, width // self.stride))
