"""Extractors without a detector: the grid of any timm backbone, and patches of raw pixels.

A region is a cell of a regular grid and its box the part of the image that the cell covers. Images are resized to one
size regardless of their aspect ratio, so that boxes as fractions are the same for all.

Shapes: B images, G x G cells, F feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.extractors.extractor import Picture
from mm_kptm.vision.features.contract import FeatureContract
from mm_kptm.vision.features.detections import Array, Detections


@dataclass(frozen=True)
class SquareInput:
    """Preprocessing: resize to ``size`` x ``size`` (bicubic), scale to 0..1, normalise by means and deviations."""

    size: int
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """Prepare an image, [H, W, 3] -> [3, size, size]."""
        resized = Image.fromarray(picture).resize((self.size, self.size), Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.asarray(resized, dtype=np.float32)) / 255
        return ((values - torch.tensor(self.means)) / torch.tensor(self.stds)).permute(2, 0, 1).contiguous()

    def contract(self, extractor: str, cells: int, dim: int) -> FeatureContract:
        """Contract of an extractor with this preprocessing and ``cells`` regions per image."""
        return FeatureContract(
            extractor=extractor,
            colour_order="rgb",
            means=self.means,
            stds=self.stds,
            value_range=1,
            resize=f"{self.size} x {self.size}, bicubic, shape not kept",
            boxes="cells",
            nms="none",
            min_boxes=cells,
            max_boxes=cells,
            dim=dim,
            dtype="float16",
        )


def cell_boxes(rows: int, columns: int) -> Array:
    """Boxes of grid cells as fractions of the image, row by row, [rows * columns, 4].

    >>> cell_boxes(1, 2).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    """
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    corners = np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=1)
    return corners.astype(np.float32)


class GridExtractor(nn.Module):
    """Last feature map of a timm backbone, convolutional or Transformer, one region per cell.

    Args:
        backbone: name in ``timm.list_models()``.
        size: side of the input in pixels; default: as published.
        cells: side of the grid after average pooling, in cells; default: no pooling.

    Raises:
        UserError: timm has no such backbone, or it does not support the size or has no spatial feature map.
    """

    def __init__(self, backbone: str, *, size: int | None = None, cells: int | None = None) -> None:
        super().__init__()
        if not timm.is_model(backbone):
            raise UserError(f"timm has no backbone {backbone!r}{nearest(backbone, timm.list_models())}")
        published = timm.get_pretrained_cfg(backbone)
        side = size or (published.input_size[-1] if published else 224)
        try:
            self.model: Any = _backbone(backbone, side)
            patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", (1, 1))
            if side % patch[0]:
                raise UserError(f"backbone {backbone} cuts patches of {patch[0]} pixels, which do not fill {side}")
            with torch.no_grad():
                rows = self.eval().grid(torch.zeros(1, 3, side, side), cells)
        except UserError:
            raise
        except Exception as error:  # timm's models raise various exceptions for a size
            raise UserError(
                f"backbone {backbone} gives no grid for pictures of {side} x {side} pixels: {error}"
            ) from None
        self.cells = cells
        means = tuple(published.mean) if published else (0.485, 0.456, 0.406)
        stds = tuple(published.std) if published else (0.229, 0.224, 0.225)
        self.prepare = SquareInput(side, means, stds)
        self.boxes = cell_boxes(*rows.shape[1:3])
        self.contract = self.prepare.contract(f"grid {backbone}", len(self.boxes), rows.shape[-1])

    def grid(self, pictures: Tensor, cells: int | None) -> Tensor:
        """Features of every cell, [B, G, G, F]; images [B, 3, size, size]."""
        features: Tensor = self.model.forward_features(pictures)
        if features.ndim == 3:  # a Transformer: class and register tokens first
            patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            side = round(patches.shape[1] ** 0.5)
            if side * side != patches.shape[1]:
                raise UserError(f"{patches.shape[1]} patches make no square grid")
            features = patches.unflatten(1, (side, side))
        elif features.ndim == 4 and getattr(self.model, "output_fmt", "NCHW") != "NHWC":
            features = features.permute(0, 2, 3, 1)
        elif features.ndim != 4:
            raise UserError(f"its features have the shape {list(features.shape)}")
        if cells is not None:
            features = nn.functional.adaptive_avg_pool2d(features.permute(0, 3, 1, 2), cells).permute(0, 2, 3, 1)
        return features

    @torch.no_grad()
    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One region per cell of each image."""
        device = next(self.parameters()).device
        batch = torch.stack([picture.prepared for picture in pictures]).to(device)
        features = self.grid(batch, self.cells).flatten(1, 2).float().cpu().numpy()
        return _regions(pictures, features, self.boxes)


class PatchExtractor:
    """Extractor of square patches of raw pixels on -1..1, without a network: the input of ViLT-like encoders.

    Args:
        size: side of the resized image, in pixels.
        patch: side of a patch in pixels; must divide ``size``.

    Raises:
        UserError: ``patch`` does not divide ``size``.
    """

    def __init__(self, *, size: int = 224, patch: int = 32) -> None:
        if patch < 1 or size % patch:
            raise UserError(f"pictures of {size} pixels cannot be cut into patches of {patch}; take a divisor")
        self.patch = patch
        self.prepare = SquareInput(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.boxes = cell_boxes(size // patch, size // patch)
        self.contract = self.prepare.contract("patches", len(self.boxes), 3 * patch * patch)

    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One region per patch of each image; its feature is the flattened pixels, channel by channel."""
        batch = torch.stack([picture.prepared for picture in pictures])
        cut = nn.functional.unfold(batch, self.patch, stride=self.patch)  # [B, F, G * G]
        return _regions(pictures, cut.mT.numpy(), self.boxes)


def _backbone(name: str, side: int) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, img_size=side)
    except TypeError:  # convolutional models accept any size
        return timm.create_model(name, pretrained=False, num_classes=0)


def _regions(pictures: Sequence[Picture], features: Array, boxes: Array) -> list[Detections]:
    return [
        Detections(picture.name, rows, boxes, picture.size, fractions=True)
        for picture, rows in zip(pictures, features, strict=True)
    ]
