"""Grid features: the cells of a feature map as regions, and random subsets of them (Pixel-BERT).

Shapes: B images, R regions, H and W rows and columns of a map, F width of its features, D dim.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.modules.embeddings import require_regions


def cells_of(maps: Tensor) -> Regions:
    """Every cell of feature maps [B, H, W, F] as a region, row by row, with its box in the image."""
    count, height, width, _ = maps.shape
    across = torch.linspace(0, 1, width + 1, device=maps.device)
    down = torch.linspace(0, 1, height + 1, device=maps.device)
    top, left = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    boxes = torch.stack([across[left], down[top], across[left + 1], down[top + 1]], dim=-1).flatten(0, 1)
    layout = SequenceLayout((height * width,) * count)
    return Regions(maps.flatten(0, 2), boxes.repeat(count, 1), layout)


def grid_places(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The row and the column of grid cells from their boxes [R, 4]: [R] and [R].

    The index is the number of cells of the same size that fit above, or to the left.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    column, row = (boxes[:, :2] / sizes).round().long().unbind(1)
    return row, column


def sampled_cells(regions: Regions, count: int, generator: torch.Generator) -> Regions:
    """At most ``count`` cells of every image, uniformly and without repeats, in order (Huang et al. 2020, section 3.4).

    Images with maps of the same size keep the same cells, as in the public re-implementation; maps of at most ``count``
    cells keep all.
    """
    drawn: dict[int, Tensor] = {}
    rows, lengths = [], []
    for first, total in zip(regions.layout.offsets, regions.layout.lengths, strict=False):
        if total not in drawn:
            order = torch.randperm(total, generator=generator)
            drawn[total] = order[:count].sort().values if total > count else torch.arange(total)
        rows.append(first + drawn[total])
        lengths.append(len(drawn[total]))
    kept = torch.cat(rows).to(regions.features.device) if rows else torch.zeros(0, dtype=torch.long)
    return select_cells(regions, kept, SequenceLayout(tuple(lengths)))


def select_cells(regions: Regions, rows: Tensor, layout: SequenceLayout) -> Regions:
    """Some cells of each image, with their features and boxes."""
    return replace(
        regions,
        features=regions.features[rows],
        boxes=regions.boxes[rows],
        layout=layout,
        segments=None,
        masked=None,
        classes=None,
        objects=None,
        attributes=None,
        words=None,
        geometry=None,
    )


class CellEmbedding(nn.Module):
    r"""Feature + row + column + a shared vector, normalised (Huang et al. 2020, in the public re-implementation).

    .. math:: \mathrm{LN}(f + r_i + c_j + s)

    The paper has the shared row s, its "semantic embedding", and no positions. Features are as wide as the encoder.

    Args:
        dim: D, and F.
        max_rows: rows of a map.
        max_columns: columns of a map.

    Raises:
        UserError: features of another width, boxes that are not fractions, or a map with more rows or columns.
    """

    def __init__(self, dim: int, *, max_rows: int, max_columns: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.row = nn.Embedding(max_rows, dim)
        self.column = nn.Embedding(max_columns, dim)
        self.kind = nn.Embedding(1, dim)
        self.norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every cell, [R, D]."""
        require_regions(regions, self.dim)
        row, column = grid_places(regions.boxes)
        for name, places, table in (("rows", row, self.row), ("columns", column, self.column)):
            if not places.is_cuda and len(places) and (last := int(places.max())) >= table.num_embeddings:
                raise UserError(
                    f"a cell stands in place {last} of its map's {name}, but the model has {table.num_embeddings}; "
                    f"shrink the image or build the model with max_{name}={last + 1}"
                )
        x = regions.features + self.row(row) + self.column(column) + self.kind.weight[0]
        return self.drop(self.norm(x))
