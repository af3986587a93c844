"""Heads on image regions and on pairs of images.

Shapes: P masked regions, F width of region features, T rows of the batch, B sequences, D dim.
"""

import torch
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.heads import Classifier, Transform
from mm_kptm.nn.ragged import cross_attention_layout
from mm_kptm.nn.sublayers import Activation


class TiedFeatures(nn.Module):
    """Region-feature regression with the transposed feature projection and a separate bias."""

    def __init__(self, transform: Transform, feature: nn.Linear) -> None:
        super().__init__()
        self.transform = transform
        self.feature = feature
        self.bias = nn.Parameter(feature.weight.new_zeros(feature.in_features))

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, F]."""
        return self.transform(rows) @ self.feature.weight + self.bias


class AttentionPool(nn.Module):
    """Attention pooling: the rows of a sequence averaged with softmax weights.

    The score of a row is a linear layer with ReLU, as in the released code of UNITER.
    """

    def __init__(self, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, rows: Tensor, layout: SequenceLayout) -> Tensor:
        """[T, D] -> [B, D]."""
        scores = torch.relu(self.score(rows)).squeeze(1)
        weights = self.drop(pad(scores, layout, value=float("-inf")).softmax(1))  # [B, N]
        return torch.bmm(weights.unsqueeze(1), pad(rows, layout)).squeeze(1)


class PairedImages(nn.Module):
    """Classifier of a text about two images, each encoded with the text (Chen et al. 2020, section 4.2, NLVR2).

    The two sequences attend to each other, every row is concatenated with its attention output, and each sequence is
    pooled by attention. Sequence 2k is about the left image of pair k, sequence 2k + 1 about the right one.
    """

    def __init__(self, dim: int, num_heads: int, *, num_classes: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.left = Attention(dim, num_heads, dropout=dropout)
        self.right = Attention(dim, num_heads, dropout=dropout)
        self.mix = nn.Linear(2 * dim, dim)
        self.pool = AttentionPool(dim, dropout=dropout)
        self.out = nn.Linear(2 * dim, num_classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, rows: Tensor, layout: SequenceLayout) -> Tensor:
        """The scores of every pair, [B / 2, C], from all final states [T, D] of text and regions.

        Raises:
            UserError: the number of sequences is odd.
        """
        if len(layout) % 2:
            raise UserError(f"two images a text need an even number of sequences, but there are {len(layout)}")
        numbers = torch.arange(len(layout), device=rows.device)
        (left, left_rows), (right, right_rows) = layout.select(numbers[::2]), layout.select(numbers[1::2])
        x, y = rows[left_rows], rows[right_rows]
        x_read, y_read = (
            self.left(x, y, cross_attention_layout(left, right)),
            self.right(y, x, cross_attention_layout(right, left)),
        )
        pooled = [self.pool(self._mixed(x, x_read), left), self.pool(self._mixed(y, y_read), right)]
        return self.out(torch.cat(pooled, dim=1))

    def _mixed(self, rows: Tensor, read: Tensor) -> Tensor:
        return self.drop(torch.relu(self.mix(torch.cat([read, rows], dim=1))))


class PooledPairs(Classifier):
    """Classifier of a text about two images from the two pooled states (Tan and Bansal 2019, NLVR2).

    Sequence 2k is about the left image of pair k, sequence 2k + 1 about the right one.
    """

    def __init__(self, dim: int, *, num_classes: int = 2, inner_dim: int | None = None) -> None:
        super().__init__(2 * dim, num_classes, inner_dim=2 * dim if inner_dim is None else inner_dim)

    def forward(self, rows: Tensor) -> Tensor:
        """The scores of every pair, [B / 2, C], from pooled states [B, D].

        Raises:
            UserError: the number of sequences is odd.
        """
        if len(rows) % 2:
            raise UserError(f"two images a text need an even number of sequences, but there are {len(rows)}")
        return super().forward(rows.unflatten(0, (len(rows) // 2, 2)).flatten(1))


class ObjectScores(nn.Module):
    """Region head: object logits, attribute logits and features (Tan and Bansal 2019, section 3.1).

    One transform, then one linear layer each; the three outputs are concatenated, :attr:`widths` wide.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_objects: int,
        num_attributes: int,
        region_dim: int,
        activation: str | Activation = "gelu",
    ) -> None:
        super().__init__()
        self.widths = (num_objects, num_attributes, region_dim)
        self.transform = Transform(dim, activation=activation)
        self.objects = nn.Linear(dim, num_objects)
        self.attributes = nn.Linear(dim, num_attributes)
        self.features = nn.Linear(dim, region_dim)

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, objects + attributes + features]."""
        x = self.transform(rows)
        return torch.cat([self.objects(x), self.attributes(x), self.features(x)], dim=1)
