"""Region embeddings with one projection of the feature: VisualBERT's and Oscar's.

Shapes: R regions, F width of their features, D dim, K words that name a region.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import Regions
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.vision.modules.embeddings import require_regions


class AlignedRegionEmbedding(nn.Module):
    r"""Feature + segment + position, normalised as the text is (Li et al. 2019, section 3.2).

    .. math:: \mathrm{LN}(W_f f + s + p_0 + \frac{1}{n} \sum_{k} p(w_k))

    Every region has row 0 of the regions' own positions. Where words are aligned with a region
    (``Regions.words``), the mean of their positions in the text's table is added; a region without words adds nothing.
    Boxes are not read.

    Args:
        region_dim: F.
        text: the text's embedding, whose norm and positions the regions share.
        num_segments: number of region segments; 0 by default (NLVR2: 0 left, 1 right image).
        max_positions: rows of the published table of region positions, of which row 0 is used.

    Raises:
        UserError: features of another width, boxes that are not fractions, or a word position beyond the table.
    """

    def __init__(
        self, region_dim: int, text: TextEmbedding, *, num_segments: int, max_positions: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        dim = text.word.embedding_dim
        self.feature = nn.Linear(region_dim, dim)
        self.segment = nn.Embedding(num_segments, dim)
        self.position = nn.Embedding(max_positions, dim)
        self.word_position = text.position
        self.norm = text.norm
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        require_regions(regions, self.feature.in_features)
        kind = self.segment.weight[0] if regions.segments is None else self.segment(regions.segments)
        x = self.feature(regions.features) + kind + self.position.weight[0]
        if regions.words is not None:
            x = x + self._named_at(regions.words)
        return self.drop(self.norm(x))

    def _named_at(self, words: Tensor) -> Tensor:
        """Mean position embedding of the aligned words of every region, zero without any: [R, K] -> [R, D]."""
        rows = self.word_position.num_embeddings
        if not words.is_cuda and words.numel() and (last := int(words.max())) >= rows:
            raise UserError(
                f"a region is named by the word at position {last}, but the model has {rows} positions; cut the text "
                f"or build the model with max_positions={last + 1}"
            )
        named = words >= 0
        positions: Tensor = self.word_position(words.clamp(min=0)) * named[..., None]
        return positions.sum(1) / named.sum(1, keepdim=True).clamp(min=1)


class BoxedFeatureEmbedding(nn.Module):
    r"""One projection of feature and box together (Li et al. 2020, Oscar, section 3).

    .. math:: W [f; x_1, y_1, x_2, y_2, w, h] + b

    with the box as fractions of the image. Regions have no position and no segment. Oscar+ adds a norm on the
    projection.

    Args:
        region_dim: F, without the six numbers of the box.
        dim: D.
        norm: on the projection; :class:`torch.nn.Identity` for none.

    Raises:
        UserError: features of another width, or boxes that are not fractions.
    """

    def __init__(self, region_dim: int, dim: int, *, norm: nn.Module, dropout: float = 0.1) -> None:
        super().__init__()
        self.region_dim = region_dim
        self.feature = nn.Linear(region_dim + 6, dim)
        self.norm = norm
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The embedding of every region, [R, D]."""
        require_regions(regions, self.region_dim)
        boxes = regions.boxes.to(regions.features.dtype)
        described = torch.cat([regions.features, boxes, boxes[:, 2:] - boxes[:, :2]], dim=1)
        return self.drop(self.norm(self.feature(described)))
