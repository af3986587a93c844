"""Input embeddings of image regions.

Shapes: R regions, F width of their features, D dim.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import Regions
from mm_kptm.errors import UserError
from mm_kptm.nn.sublayers import bert_norm
from mm_kptm.vision.boxes import corners_size_area, require_fractions


class RegionEmbedding(nn.Module):
    r"""Feature + box + segment, the first two with separate norms (Chen et al. 2020, section 3.1).

    .. math:: \mathrm{LN}(\mathrm{LN}(W_f f) + \mathrm{LN}(W_b b) + s)

    where b are the seven numbers of :func:`~mm_kptm.vision.boxes.corners_size_area`, or ``regions.geometry`` where that
    is given. Regions have no position: they are a set. The feature of a masked region is the learned vector ``mask``.
    (The released code adds that vector to the feature, which its masking has set to zero.)

    Args:
        region_dim: F.
        dim: D.
        segment: the table of the text's segments, which regions share; row 1 unless the regions say otherwise.

    Raises:
        UserError: a segment table without row 1, features of another width, or boxes that are not fractions.
    """

    def __init__(self, region_dim: int, dim: int, *, segment: nn.Embedding | None, dropout: float = 0.1) -> None:
        super().__init__()
        if segment is None or segment.num_embeddings < 2:
            raise UserError(
                "regions are distinguished from text by row 1 of the segments, so num_segments must be at least 2"
            )
        self.feature = nn.Linear(region_dim, dim)
        self.feature_norm = bert_norm(dim)
        self.box = nn.Linear(7, dim)
        self.box_norm = bert_norm(dim)
        self.segment = segment
        self.norm = bert_norm(dim)
        self.mask = nn.Parameter(torch.empty(1, region_dim).normal_(0.0, 0.02))
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        require_regions(regions, self.feature.in_features)
        features = regions.features
        if regions.masked is not None:
            features = torch.where(regions.masked[:, None], self.mask.to(features.dtype), features)
        boxes = corners_size_area(regions.boxes) if regions.geometry is None else regions.geometry
        x = self.feature_norm(self.feature(features)) + self.box_norm(self.box(boxes))
        kind = self.segment.weight[1] if regions.segments is None else self.segment(regions.segments)
        return self.drop(self.norm(x + kind))


class MeanRegionEmbedding(nn.Module):
    r"""The mean of feature and box, each with a separate norm (Tan and Bansal 2019, section 2.1, eq. 1).

    .. math:: (\mathrm{LN}(W_f f) + \mathrm{LN}(W_b b)) / 2

    where b are the corners of the box as fractions of the image. Masking changes the feature only: there is no
    learned mask vector.

    Args:
        region_dim: width of the features, F.
        dim: D.

    Raises:
        UserError: features of another width, or boxes that are not fractions.
    """

    def __init__(self, region_dim: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.feature = nn.Linear(region_dim, dim)
        self.feature_norm = bert_norm(dim)
        self.box = nn.Linear(4, dim)
        self.box_norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        require_regions(regions, self.feature.in_features)
        x = self.feature_norm(self.feature(regions.features)) + self.box_norm(self.box(regions.boxes))
        return self.drop(x / 2)


def require_regions(regions: Regions, width: int) -> None:
    """Check that regions have features of ``width`` and valid boxes.

    Raises:
        UserError: features of another width, or boxes that are not fractions.
    """
    if regions.features.shape[-1] != width:
        raise UserError(
            f"the model reads region features of {width} numbers, but these have {regions.features.shape[-1]}; "
            f"build it with region_dim={regions.features.shape[-1]}"
        )
    require_fractions(regions.boxes)
