"""Extractors without a detector: the grid of any timm backbone, and patches of raw pixels.

A region is a cell of a regular grid and its box the part of the image that the cell covers. Images are resized to one
size regardless of their aspect ratio, so that boxes as fractions are the same for all.

Shapes: B images, G x G cells, F feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mm_kptm.nn.backbones import PatchBackbone, TimmBackbone
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
        self.backbone = TimmBackbone(backbone, size=size)
        self.cells = cells
        published = self.backbone.image_format
        with torch.no_grad():
            grid = self.eval().grid(torch.zeros(1, 3, published.size, published.size))
        self.prepare = SquareInput(published.size, published.mean, published.std)
        self.boxes = cell_boxes(*grid.shape[1:3])
        self.contract = self.prepare.contract(f"grid {backbone}", len(self.boxes), grid.shape[-1])

    @property
    def model(self) -> nn.Module:
        """The model of timm."""
        return cast(nn.Module, self.backbone.model)

    def grid(self, pictures: Tensor) -> Tensor:
        """Features of every cell, [B, G, G, F]; images [B, 3, size, size]."""
        features: Tensor = self.backbone(pictures)
        if self.cells is None:
            return features
        return nn.functional.adaptive_avg_pool2d(features.permute(0, 3, 1, 2), self.cells).permute(0, 2, 3, 1)

    @torch.no_grad()
    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One region per cell of each image."""
        device = next(self.parameters()).device
        batch = torch.stack([picture.prepared for picture in pictures]).to(device)
        features = self.grid(batch).flatten(1, 2).float().cpu().numpy()
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
        self.backbone = PatchBackbone(size=size, patch=patch)
        form = self.backbone.image_format
        self.prepare = SquareInput(form.size, form.mean, form.std)
        self.boxes = cell_boxes(*self.backbone.grid(size, size))
        self.contract = self.prepare.contract("patches", len(self.boxes), self.backbone.dim)

    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One region per patch of each image; its feature is the flattened pixels, channel by channel."""
        batch = torch.stack([picture.prepared for picture in pictures])
        return _regions(pictures, self.backbone(batch).flatten(1, 2).numpy(), self.boxes)


def _regions(pictures: Sequence[Picture], features: Array, boxes: Array) -> list[Detections]:
    return [
        Detections(picture.name, rows, boxes, picture.size, fractions=True)
        for picture, rows in zip(pictures, features, strict=True)
    ]
