"""Maps from the contextual space of one encoder to that of another: CLBT (Wang et al. 2019, section 3).

Both encoders stay frozen. A map is fitted on vectors of aligned word pieces of translations and then put on the states
of the source encoder, so that a model trained on the target encoder reads the source language.

Shapes: N aligned pairs, D dim.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.sublayers import attention_sublayer


class LinearMap(nn.Linear):
    """A linear map without bias, at first the identity, applied as ``states @ weight.T`` to [..., D].

    Args:
        dim: of both spaces.
        weight: fitted map [D, D], such as that of :func:`procrustes`.
    """

    def __init__(self, dim: int, weight: Tensor | None = None) -> None:
        super().__init__(dim, dim, bias=False)
        with torch.no_grad():
            self.weight.copy_(torch.eye(dim) if weight is None else weight)


class FeedForwardMap(nn.Module):
    """A map of linear layers with biases and a non-linearity between them, D -> ``hidden_dim`` .. -> D.

    Args:
        dim: of both spaces.
        hidden_dim: width between the layers.
        num_layers: number of linear layers; one alone is an affine map.
        activation: non-linearity.
        negative_slope: slope of the leaky ReLU below zero.

    Raises:
        UserError: no layer.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_dim: int,
        num_layers: int = 2,
        activation: Literal["leaky_relu", "tanh"] = "leaky_relu",
        negative_slope: float = 0.1,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise UserError(f"a map has at least one layer, not {num_layers}")
        dims = [dim, *[hidden_dim] * (num_layers - 1), dim]
        layers: list[nn.Module] = []
        for size, following in pairwise(dims):
            layers += [nn.Linear(size, following), nn.Tanh() if activation == "tanh" else nn.LeakyReLU(negative_slope)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, states: Tensor) -> Tensor:
        """Map states [..., D]."""
        return self.layers(states)


class AttentionMap(nn.Module):
    """A map that also looks at the sentence: attention blocks of BERT, perhaps behind one of the maps above.

    Args:
        dim: of both spaces.
        num_heads: of every block.
        num_blocks: attention blocks, each with its residual and norm.
        before: from states to those that the blocks read; as they are unless given.
        dropout: of states and weights.

    Raises:
        UserError: no block, or heads that do not divide the dim.
    """

    def __init__(
        self, dim: int, *, num_heads: int, num_blocks: int = 1, before: nn.Module | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if num_blocks < 1:
            raise UserError(f"a map with attention has at least one block, not {num_blocks}")
        self.before = nn.Identity() if before is None else before
        self.blocks = nn.ModuleList(attention_sublayer(dim, num_heads, dropout=dropout) for _ in range(num_blocks))

    def forward(self, states: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """The mapped query rows of states [T, D] of whole sentences, [Q, D]."""
        whole = unrestricted(attention_layout)
        states = self.before(states)
        *earlier, last = self.blocks
        for block in earlier:
            states = block(states, whole)
        mapped: Tensor = last(states, attention_layout)
        return mapped


def unrestricted(attention_layout: AttentionLayout) -> AttentionLayout:
    """The layout of self-attention with every row of its stream as a query."""
    return replace(attention_layout, queries=attention_layout.sources, query_rows=None)


def procrustes(source: Tensor, target: Tensor) -> Tensor:
    r"""The orthogonal map W [D, D] that brings source rows closest to target rows [N, D] (Schönemann 1966).

    .. math:: W = U V^\top, \quad U \Sigma V^\top = Y^\top X

    A target vector is about W times its source vector; the other direction is the transpose.

    Raises:
        UserError: the rows are not paired.

    >>> procrustes(torch.eye(2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).round().tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    if source.shape != target.shape:
        raise UserError(
            f"source {list(source.shape)} and target {list(target.shape)} are not paired; give a row of both per pair"
        )
    left, _, right = torch.linalg.svd(target.T @ source)
    return left @ right


def squared_distance(mapped: Tensor, target: Tensor) -> Tensor:
    """The mean squared Euclidean distance of the pairs: squares are summed over dims, as the released code has it."""
    return (mapped - target).square().sum(-1).mean()


def cosine_loss(mapped: Tensor, target: Tensor) -> Tensor:
    """Minus the mean inner product of the pairs; a cosine where both were normalised before."""
    return -(mapped * target).sum(-1).mean()


def margin_loss(mapped: Tensor, target: Tensor, *, k: int) -> Tensor:
    r"""The mean hinge between each pair and its ``k`` highest targets in the batch, its own among them if it is one.

    .. math:: \frac{1}{N k} \sum_i \sum_{j \in \mathrm{top}_k} \max(0, 1 - s_{ii} + s_{ij})
    """
    scores = mapped @ target.T
    highest = scores.topk(min(k, len(target)), dim=1).values
    return (1 - scores.diagonal()[:, None] + highest).relu().mean()


def mean_cosine(mapped: Tensor, target: Tensor) -> Tensor:
    """The mean cosine of the pairs, by which the released code chooses among maps."""
    return nn.functional.cosine_similarity(mapped, target).mean()
