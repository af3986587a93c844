"""Pixels as regions: the cells of a backbone's feature map, computed inside the model.

Shapes: B images of h x w pixels, H x W cells, R cells of all images, F features of the backbone, V of a region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Images, Inputs, Regions, SequenceLayout
from mm_kptm.data.images.resizing import ImageResize
from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import Backbone, ImageFormat
from mm_kptm.vision.modules.single_stream.grid_features import grid_places


@dataclass(frozen=True)
class CellGrid:
    """Numbers of cells of prepared pictures, as the backbone and the pooling behind it make them.

    Args:
        stride: side of a cell of the backbone, in pixels.
        pool: cells that are pooled, along each side.
        square: rows and columns of the backbone's map of a picture of ``size`` x ``size`` pixels.
        size: that size.
    """

    stride: int
    pool: int
    square: tuple[int, int]
    size: int

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a picture of ``height`` x ``width`` pixels."""
        rows, columns = self.square
        if (height, width) != (self.size, self.size):
            rows, columns = -(-height // self.stride), -(-width // self.stride)
        return max(rows // self.pool, 1), max(columns // self.pool, 1)


@dataclass(frozen=True)
class PixelFormat:
    """How pictures become the pixels that a system reads, and how many cells these have."""

    resize: ImageResize
    image_format: ImageFormat
    grid: CellGrid | None  #: None: the regions are boxes that are given beside the pictures
    dim: int  #: features of a region, before a projection

    @classmethod
    def of(cls, backbone: Backbone, *, longest: int | None = None, pool: int = 1) -> PixelFormat:
        """The format of a backbone.

        Raises:
            UserError: pictures keep their aspect ratio, but the backbone reads squares only.
        """
        form = backbone.image_format
        if longest is not None and not backbone.any_size:
            raise UserError(
                f"pictures were to keep their shape up to {longest} pixels, but this backbone reads squares of "
                f"{form.size} pixels only; leave longest out"
            )
        if pool < 1:
            raise UserError(f"{pool} cells cannot be pooled into one; give 1 or more")
        multiple = backbone.stride if longest is not None else 1
        return cls(
            ImageResize(form.size, longest, multiple, form.interpolation),
            form,
            CellGrid(backbone.stride, pool, backbone.grid(form.size, form.size), form.size),
            backbone.dim,
        )


class PixelRegions(nn.Module):
    """Frontend that turns pictures into regions: the backbone's cells, max-pooled and projected.

    Where the inputs have regions beside the images, their boxes say which cells are wanted (random pixel sampling drops
    some) and their features are filled in; otherwise all cells are regions.

    Args:
        backbone: from pixels to a map.
        region_dim: V, the features of a region that the encoder reads.
        kernel: side of the convolution, without bias, from F to V; 0 for none, where F equals V.
        pool: side of the max-pooling behind it, followed by a ReLU (Huang et al. 2020); 1 for neither.

    Raises:
        UserError: the features are as wide as the encoder does not read them, and there is no projection.
    """

    def __init__(self, backbone: Backbone, *, region_dim: int, kernel: int = 0, pool: int = 1) -> None:
        super().__init__()
        if kernel == 0 and backbone.dim != region_dim:
            raise UserError(
                f"the backbone gives {backbone.dim} features of a cell, but the encoder reads {region_dim}; project "
                "them with kernel=1"
            )
        self.backbone = backbone
        self.project = (
            nn.Conv2d(backbone.dim, region_dim, kernel, padding=kernel // 2, bias=False) if kernel else nn.Identity()
        )
        self.pool = pool

    def forward(self, inputs: Inputs) -> Inputs:
        """The inputs with the features of the cells of every image as regions; inputs without images stay.

        Raises:
            UserError: the regions are of other images, or lie in cells that the map does not have.
        """
        images = inputs.images
        if images is None:
            return inputs
        features, grids = self._cells(images)
        regions = inputs.regions
        if regions is None:
            layout = SequenceLayout(tuple(rows * columns for rows, columns in grids))
            boxes = (
                torch.cat([cell_boxes(*grid, device=features.device) for grid in grids]) if grids else features[:, :0]
            )
            return inputs.with_streams(regions=Regions(features, boxes, layout), images=None)
        rows = _rows(regions, grids)
        return inputs.with_streams(regions=replace(regions, features=features[rows]), images=None)

    def _cells(self, images: Images) -> tuple[Tensor, list[tuple[int, int]]]:
        """The features of all cells in the order of the images, [R, V], and rows and columns of every map."""
        maps: dict[int, Tensor] = {}
        for numbers, pixels in images.by_size():
            cells = self.project(self.backbone(pixels).permute(0, 3, 1, 2))  # [B, V, H, W]
            if self.pool > 1:
                side = [min(self.pool, length) for length in cells.shape[2:]]
                cells = nn.functional.max_pool2d(cells, side).relu()
            maps |= zip(numbers, cells.permute(0, 2, 3, 1), strict=True)
        ordered = [maps[number] for number in range(len(maps))]
        grids = [(cells.shape[0], cells.shape[1]) for cells in ordered]
        return torch.cat([cells.flatten(0, 1) for cells in ordered]), grids


def cell_boxes(rows: int, columns: int, *, device: torch.device | None = None) -> Tensor:
    """Boxes of grid cells as fractions of the image, row by row, [rows * columns, 4]."""
    down = torch.arange(rows + 1, device=device) / rows
    across = torch.arange(columns + 1, device=device) / columns
    top, left = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([across[left], down[top], across[left + 1], down[top + 1]], dim=-1).flatten(0, 1)


def _rows(regions: Regions, grids: Sequence[tuple[int, int]]) -> Tensor:
    """The row of the cell that every region is, among those of all images, [R]."""
    if len(regions.layout) != len(grids):
        raise UserError(f"there are pixels of {len(grids)} images, but regions of {len(regions.layout)}")
    device = regions.boxes.device
    sizes = torch.tensor(grids, device=device)
    starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)])
    owners = regions.layout.sequence_ids(device)
    row, column = grid_places(regions.boxes)
    high, wide = sizes[owners].unbind(1)
    if not row.is_cuda and bool(((row >= high) | (column >= wide)).any()):
        first = int(((row >= high) | (column >= wide)).nonzero()[0])
        image = int(owners[first])
        raise UserError(
            f"a region of image {image} is cell {int(row[first])}, {int(column[first])}, but the map of that image has "
            f"{grids[image][0]} rows and {grids[image][1]} columns; prepare pictures in the format of the backbone"
        )
    return starts[owners] + row * wide + column
