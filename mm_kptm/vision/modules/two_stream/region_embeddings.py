"""Region embeddings from features and boxes: ViLBERT's, and VOLTA's variants of LXMERT's, UNITER's and VisualBERT's.

Shapes: R regions, F width of their features, N numbers of a box, D dim.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import Regions, SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.boxes import corners_size_area
from mm_kptm.vision.modules.embeddings import require_regions

#: Columns of the seven box features, by their count: LXMERT's, ViLBERT's, UNITER's.
_COLUMNS = {4: [0, 1, 2, 3], 5: [0, 1, 2, 3, 6], 7: [0, 1, 2, 3, 4, 5, 6]}


def box_numbers(boxes: Tensor, count: int) -> Tensor:
    """Corners (4 numbers), corners and area (5), or corners, size and area (7) of boxes [R, 4]: [R, count]."""
    return corners_size_area(boxes)[:, _COLUMNS[count]]


def box_features(regions: Regions, count: int) -> Tensor:
    """The numbers of every box [R, count]: those of ``regions.geometry`` where they are given, else of its corners.

    Raises:
        UserError: the geometry has another width.
    """
    given = regions.geometry
    if given is None:
        return box_numbers(regions.boxes.to(regions.features.dtype), count)
    if given.shape[1] != count:
        raise UserError(f"a box is read as {count} numbers, but the geometry of the regions has {given.shape[1]}")
    return given.to(regions.features.dtype)


class BoxRegionEmbedding(nn.Module):
    """Base of region embeddings with a projection of the feature and one of the box.

    Args:
        region_dim: F.
        dim: D.
        box_dim: N; 4 corners, 5 with the area (Lu et al. 2019, section 2.3), 7 with width, height and area.

    Raises:
        UserError: another ``box_dim``.
    """

    def __init__(self, region_dim: int, dim: int, *, box_dim: int = 5, dropout: float = 0.1) -> None:
        super().__init__()
        if box_dim not in _COLUMNS:
            raise UserError(f"a box is read as 4, 5 or 7 numbers, not as {box_dim}")
        self.feature = nn.Linear(region_dim, dim)
        self.box = nn.Linear(box_dim, dim)
        self.drop = nn.Dropout(dropout)

    def projected(self, regions: Regions) -> tuple[Tensor, Tensor]:
        """The projections of features and boxes, each [R, D].

        Raises:
            UserError: features of another width, or boxes that are not fractions.
        """
        require_regions(regions, self.feature.in_features)
        numbers = box_features(regions, self.box.in_features)
        return self.feature(regions.features), self.box(numbers)


class SummedRegionEmbedding(BoxRegionEmbedding):
    r"""Feature plus box under one norm (Lu et al. 2019, section 2.3): :math:`\mathrm{LN}(W_f f + W_b b)`."""

    def __init__(self, region_dim: int, dim: int, *, box_dim: int = 5, dropout: float = 0.1) -> None:
        super().__init__(region_dim, dim, box_dim=box_dim, dropout=dropout)
        self.norm = bert_norm(dim)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        feature, box = self.projected(regions)
        return self.drop(self.norm(feature + box))


class AveragedRegionEmbedding(BoxRegionEmbedding):
    r"""The mean of feature and box, each with its norm: :math:`(\mathrm{LN}(W_f f) + \mathrm{LN}(W_b b)) / 2`.

    LXMERT's (Tan and Bansal 2019, eq. 1) with ``box_dim`` box features.
    """

    def __init__(self, region_dim: int, dim: int, *, box_dim: int = 5, dropout: float = 0.1) -> None:
        super().__init__(region_dim, dim, box_dim=box_dim, dropout=dropout)
        self.feature_norm = bert_norm(dim)
        self.box_norm = bert_norm(dim)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        feature, box = self.projected(regions)
        return self.drop((self.feature_norm(feature) + self.box_norm(box)) / 2)


class TypedRegionEmbedding(BoxRegionEmbedding):
    r"""Feature, box and the segment of regions, with a separate norm.

    .. math:: \mathrm{LN}(\mathrm{LN}(W_f f) + \mathrm{LN}(W_b b) + s_1)

    UNITER's (Chen et al. 2020, section 3.1) without its mask vector and with a norm not shared with the text.

    Args:
        region_dim: F.
        dim: D.
        segment: the text's segments, or a table of the regions' own.
        kind: their row of it.
        box_dim: numbers of a box.
        dropout: of the regions.

    Raises:
        UserError: the segments have no such row.
    """

    def __init__(
        self,
        region_dim: int,
        dim: int,
        *,
        segment: nn.Embedding | None,
        kind: int = 1,
        box_dim: int = 5,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(region_dim, dim, box_dim=box_dim, dropout=dropout)
        self.segment = require_rows(segment, kind + 1)
        self.kind = kind
        self.feature_norm = bert_norm(dim)
        self.box_norm = bert_norm(dim)
        self.norm = bert_norm(dim)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        feature, box = self.projected(regions)
        return self.drop(self.norm(self.feature_norm(feature) + self.box_norm(box) + self.segment.weight[self.kind]))


class PlacedRegionEmbedding(nn.Module):
    r"""Feature, row 1 of the regions' segments and row 0 of their positions, under the text's norm.

    VisualBERT's as VOLTA has it (Bugliarello et al. 2021, appendix A): boxes are not used.

    Args:
        region_dim: F.
        text: the text's embedding; the regions share its norm and have separate tables of the same size, of which one
            row each is used.

    Raises:
        UserError: the segments have no row 1.
    """

    def __init__(self, region_dim: int, text: TextEmbedding, *, dropout: float = 0.1) -> None:
        super().__init__()
        dim, num_segments = text.word.embedding_dim, require_rows(text.segment, 2).num_embeddings
        self.feature = nn.Linear(region_dim, dim)
        self.segment = nn.Embedding(num_segments, dim)
        self.position = nn.Embedding(text.position.num_embeddings, dim)
        self.norm = text.norm
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D].

        Raises:
            UserError: features of another width, or boxes that are not fractions.
        """
        require_regions(regions, self.feature.in_features)
        x = self.feature(regions.features) + self.segment.weight[1] + self.position.weight[0]
        return self.drop(self.norm(x))


def require_rows(segment: nn.Embedding | None, least: int) -> nn.Embedding:
    """The table of segments, which must distinguish regions from text.

    Raises:
        UserError: it has fewer rows than that takes.
    """
    if segment is None or segment.num_embeddings < least:
        raise UserError(f"regions take row {least - 1} of the segments, so num_segments must be at least {least}")
    return segment


def overlaps_of_images(boxes: Tensor, layout: SequenceLayout) -> Tensor:
    """Intersection over union of every two boxes of an image: [R, 4] to [images, n, n], n the most that one has."""
    padded = pad(boxes, layout)
    low, high = padded[..., :2], padded[..., 2:]
    shared = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    area = shared.clamp(min=0).prod(-1)
    own = (high - low).clamp(min=0).prod(-1)
    return area / (own[:, :, None] + own[:, None] - area).clamp(min=1e-12)
