"""Any model of timm as a backbone: its feature map and its pooled features.

Shapes: B pictures of h x w pixels, H x W cells, F features of a cell, P pooled features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest
from mm_kptm.nn.backbones.backbone import Backbone, ImageFormat, with_frozen_norms
from mm_kptm.systems.packaged.weights import weights_of


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
        return with_frozen_norms(self) if self.freeze_batch_norm else self

    def load(self, weights: Path) -> None:
        """Fill the model with a file of timm or torchvision, or a package; its classifier is left out.

        Positions are resampled.

        Raises:
            UserError: no such file, or the weights of another model; the names that differ are listed.
        """
        self.fill(weights_of(weights), weights)

    def fill(self, found: Mapping[str, Tensor], weights: Path | str) -> None:
        """Fill the model with tensors by timm's names; as :meth:`load`, with ``weights`` as their name in errors."""
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
        self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], weights: Path | str
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
