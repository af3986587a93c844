"""Image backbones: feature maps and pooled features of any timm model, and patches of raw pixels.

A backbone maps normalised pictures to a grid of features; its :class:`ImageFormat` says how they are prepared.

Shapes: B pictures of h x w pixels, H x W cells, F features of a cell, P pooled features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.packaged.weights import weights_of

PATCHES = "patches"  #: name of the backbone without a network
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class ImageFormat:
    """Pictures as a backbone reads them: RGB on 0..1, minus ``mean``, divided by ``std``."""

    size: int  #: side of the square pictures that it was published with, in pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"  #: resampling filter: bilinear or bicubic


class Backbone(nn.Module, ABC):
    """Pictures to a grid of features.

    Attributes:
        dim: features of a cell, F.
        pooled_dim: features of a picture, P.
        stride: side of a cell, in pixels of the prepared picture.
        image_format: how pictures are prepared.
        any_size: whether pictures of other sizes than that of its format are read.
    """

    dim: int
    pooled_dim: int
    stride: int
    image_format: ImageFormat
    any_size: bool

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """The feature map of every picture, [B, 3, h, w] -> [B, H, W, F].

        Raises:
            UserError: the pictures have a size that it does not read.
        """

    def pooled(self, pixels: Tensor) -> Tensor:
        """One vector per picture, [B, 3, h, w] -> [B, P]: the mean of its cells unless the model pools otherwise."""
        return self(pixels).mean((1, 2))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map of a picture of ``height`` x ``width`` pixels, a begun cell counted as one."""
        return -(-height // self.stride), -(-width // self.stride)


class TimmBackbone(Backbone):
    """Any model of timm (Wightman 2019), convolutional or Transformer, without its classifier.

    Args:
        name: in ``timm.list_models()``.
        size: side of the pictures in pixels; None: as published.
        trainable: if false, parameters get no gradient and the model stays in evaluation mode, its BatchNorm
            statistics included.
        freeze_batch_norm: whether BatchNorm keeps its statistics in training, too, as fine-tuning of detectors does.

    Raises:
        UserError: timm has no such model, or it does not read the size or has no map of features.
    """

    def __init__(
        self, name: str, *, size: int | None = None, trainable: bool = True, freeze_batch_norm: bool = False
    ) -> None:
        import timm

        super().__init__()
        if not timm.is_model(name):
            raise UserError(f"timm has no backbone {name!r}{nearest(name, timm.list_models(), otherwise='')}")
        published = timm.get_pretrained_cfg(name)
        side = size or (published.input_size[-1] if published else 224)
        self.name = name
        self.image_format = ImageFormat(
            size=side,
            mean=tuple(published.mean) if published else (0.485, 0.456, 0.406),
            std=tuple(published.std) if published else (0.229, 0.224, 0.225),
            interpolation=published.interpolation if published else "bicubic",
        )
        self.trainable = trainable
        self.freeze_batch_norm = freeze_batch_norm
        try:
            self.model, self.any_size = _timm_model(name, side)
            self._measure(side)
        except UserError:
            raise
        except Exception as error:  # timm's models raise various exceptions for a size
            raise _no_grid(name, side, side, error) from None
        self.requires_grad_(trainable)
        self.train()

    @torch.no_grad()
    def _measure(self, side: int) -> None:
        """Read the sizes off the map of one blank picture."""
        patch = _patch(self.model)
        if side % patch:
            raise UserError(f"backbone {self.name} cuts patches of {patch} pixels, which do not fill {side}")
        features = self.model.eval().forward_features(torch.zeros(1, 3, side, side))
        cells = self._grid_of(features, side, side)
        self.dim = cells.shape[-1]
        self.stride = -(-side // cells.shape[1])
        self.pooled_dim = self.model.forward_head(features, pre_logits=True).flatten(1).shape[-1]

    def forward(self, pixels: Tensor) -> Tensor:
        """The last feature map, [B, 3, h, w] -> [B, H, W, F]; class and register tokens are left out."""
        height, width = pixels.shape[-2:]
        if not self.any_size and (height, width) != (self.image_format.size, self.image_format.size):
            side = self.image_format.size
            raise UserError(
                f"backbone {self.name} was built for pictures of {side} x {side} pixels, but got {height} x {width}; "
                "resize them"
            )
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            features = self.model.forward_features(pixels)
        return self._grid_of(features, height, width)

    def _grid_of(self, features: Tensor, height: int, width: int) -> Tensor:
        if features.ndim == 3:  # a Transformer: class and register tokens first
            patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            count = patches.shape[1]
            rows = max(1, round((count * height / width) ** 0.5))
            if count % rows:
                raise UserError(f"{count} patches make no grid of that shape")
            return patches.unflatten(1, (rows, count // rows))
        if features.ndim != 4:
            raise UserError(f"its features have the shape {list(features.shape)}")
        return features if _channels_last(self.model) else features.permute(0, 2, 3, 1)

    def pooled(self, pixels: Tensor) -> Tensor:
        """The vector before the classifier, pooled as the model was published, [B, 3, h, w] -> [B, P]."""
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            pooled: Tensor = self.model.forward_head(self.model.forward_features(pixels), pre_logits=True)
        return pooled.flatten(1)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of what is trained; the rest stays in evaluation mode."""
        super().train(mode and self.trainable)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, _NORMS):
                    module.eval()
        return self

    def load(self, weights: Path) -> None:
        """Fill the model with a file of timm or torchvision, or a package; its classifier is left out.

        Positions are resampled.

        Raises:
            UserError: no such file, or the weights of another model; the names that differ are listed.
        """
        found = weights_of(weights)
        expected = cast("dict[str, Tensor]", self.model.state_dict())
        missing = sorted(name for name in expected.keys() - found.keys() if not name.endswith("num_batches_tracked"))
        shapes = _heads_of_classifiers(self.name)
        unexpected = sorted(name for name in found.keys() - expected.keys() if not name.startswith(shapes))
        if missing or unexpected:
            problems = [f"lacks {', '.join(missing[:3])}"] if missing else []
            problems += [f"has {', '.join(unexpected[:3])} besides"] if unexpected else []
            raise UserError(f"{weights} are not the weights of the backbone {self.name}: it {' and '.join(problems)}")
        self.model.load_state_dict(self._resampled(found, expected, weights), strict=False)

    def _resampled(
        self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], weights: Path
    ) -> dict[str, Tensor]:
        """The tensors of the model; absolute positions of another grid are interpolated to this one."""
        from timm.layers.pos_embed import resample_abs_pos_embed

        filled = {name: found[name] for name in expected if name in found}
        for name, tensor in filled.items():
            if tensor.shape == expected[name].shape:
                continue
            if name == "pos_embed" and (patch := _patch(self.model)) > 1:
                cells = self.image_format.size // patch
                prefix = 0 if getattr(self.model, "no_embed_class", False) else self.model.num_prefix_tokens
                filled[name] = resample_abs_pos_embed(tensor, [cells, cells], num_prefix_tokens=prefix)
                continue
            raise UserError(
                f"{weights}: {name} has the shape {list(tensor.shape)}, but that of the backbone {self.name} has "
                f"{list(expected[name].shape)}"
            )
        return filled


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


def build_backbone(
    name: str,
    *,
    size: int | None = None,
    patch: int = 32,
    weights: Path | None = None,
    trainable: bool = True,
    freeze_batch_norm: bool = False,
) -> Backbone:
    """A backbone by name: any model of timm, or ``patches``.

    Args:
        name: in ``timm.list_models()``, or :data:`PATCHES`.
        size: side of the pictures in pixels; None: as published, 224 for patches.
        patch: side of a patch of ``patches``, in pixels.
        weights: a file of timm or torchvision; None: fresh weights.
        trainable: whether its parameters, and its BatchNorm statistics, are trained.
        freeze_batch_norm: whether BatchNorm keeps its statistics all the same.

    Raises:
        UserError: there is no such backbone, it does not read that size, or the weights do not fit.
    """
    if name == PATCHES:
        if weights is not None:
            raise UserError(f"{PATCHES} are raw pixels and take no weights, but {weights} was given; leave it out")
        return PatchBackbone(size=size or 224, patch=patch)
    backbone = TimmBackbone(name, size=size, trainable=trainable, freeze_batch_norm=freeze_batch_norm)
    if weights is not None:
        backbone.load(weights)
    return backbone


def _timm_model(name: str, side: int) -> tuple[Any, bool]:
    """The model without its classifier, and whether it reads pictures of any size."""
    import timm

    attempts: tuple[tuple[dict[str, Any], bool], ...] = (
        ({"img_size": side, "dynamic_img_size": True}, True),
        ({"img_size": side}, False),
    )
    for options, any_size in attempts:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **options), any_size
        except TypeError:  # the model has no such option
            continue
    return timm.create_model(name, pretrained=False, num_classes=0), True  # convolutions read any size


def _patch(model: Any) -> int:
    """Side of the patches that a Transformer cuts, in pixels; 1 for convolutions."""
    size = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return int(size if isinstance(size, int) else size[0])


def _channels_last(model: Any) -> bool:
    return bool(getattr(model, "output_fmt", "NCHW") == "NHWC")


def _heads_of_classifiers(name: str) -> tuple[str, ...]:
    """Beginnings of the names of a classifier's parameters."""
    import timm

    published = timm.get_pretrained_cfg(name)
    named = getattr(published, "classifier", None) or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{head}." for head in (*heads, "fc", "head", "classifier"))


def _no_grid(name: str, height: int, width: int, error: Exception) -> UserError:
    return UserError(f"backbone {name} gives no grid for pictures of {height} x {width} pixels: {error}")
