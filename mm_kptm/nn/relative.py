"""Attention with a learnt bias by relative position, and the other parts of T5's layers (Raffel et al. 2020).

Shapes: Q query rows, S source rows, D dim, H heads, E dim of one head, n and m rows of one sequence, c sequences of a
run.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.prenorm import PreNormAttention, PreNormFeedForward
from mm_kptm.nn.ragged import AttentionLayout, attend, finite, observe, observed, runs
from mm_kptm.nn.sublayers import NormBuilder, activation_named


class RelativeBias(nn.Module):
    """A bias of attention scores by head and distance, in buckets that widen logarithmically (section 2.1).

    Args:
        num_heads: H.
        num_buckets: rows of the table.
        max_distance: from which on all distances share the last bucket.
        bidirectional: whether sources behind the query have half of the buckets, or all count as near.
    """

    def __init__(
        self, num_heads: int, *, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(num_buckets, num_heads)
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def buckets(self, distances: Tensor) -> Tensor:
        """The bucket of every distance, source minus query."""
        count = self.table.num_embeddings // (2 if self.bidirectional else 1)
        offset = (distances > 0).long() * count if self.bidirectional else torch.zeros_like(distances)
        distances = distances.abs() if self.bidirectional else (-distances).clamp(min=0)
        exact = count // 2
        share = torch.log(distances.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        wide = (exact + (share * (count - exact)).long()).clamp(max=count - 1)
        return offset + torch.where(distances < exact, distances, wide)

    def forward(self, distances: Tensor) -> Tensor:
        """[c, n, m] -> [c, H, n, m]."""
        bias: Tensor = self.table(self.buckets(distances))
        return bias.permute(0, 3, 1, 2)


class RelativeAttention(Attention):
    """Multi-head attention whose scores are not scaled and may have a bias by distance; no map has a bias.

    Args:
        dim: of the rows.
        num_heads: H.
        head_dim: E; heads together need not be as wide as the rows.
        bias: of the scores, shared by the layers of a stack; None: none, as where another stream is read.
        dropout: of the weights.
    """

    def __init__(
        self, dim: int, num_heads: int, *, head_dim: int, bias: RelativeBias | None = None, dropout: float = 0.1
    ) -> None:
        width = num_heads * head_dim
        super().__init__(dim, num_heads, width=width, dropout=dropout)
        self.query, self.key, self.value = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(width, dim, bias=False)
        self.bias = bias

    def attended(self, x: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """The heads of the query rows side by side, before the output projection: [Q, H * E]."""
        dropout = self.dropout if self.training else 0.0
        query = self._heads(project(self.query, x))
        if self.bias is None:
            unscaled = query * query.shape[-1] ** 0.5  # which the kernels divide by again
            return attend(unscaled, key, value, attention_layout, dropout=dropout).flatten(1)
        if observed():
            unscaled = query * query.shape[-1] ** 0.5  # as above
            observe(unscaled, key, attention_layout, self._padded_scores(attention_layout, query))
        found = []
        for rows, sources, count in runs(attention_layout.queries, attention_layout.sources):
            q, k, v = (
                side.unflatten(0, (count, -1)).transpose(1, 2)
                for side in (query[rows], key[sources], value[sources])
                if len(side) or count
            )
            bias = self._scores(attention_layout, rows, sources, count, query)
            read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=1.0)
            found.append(read.transpose(1, 2).flatten(0, 1))
        return torch.cat(found).flatten(1) if found else query.flatten(1)

    def weights(self, x: Tensor, source: Tensor, attention_layout: AttentionLayout) -> list[Tensor]:
        """Attention weights of the query rows over the source rows, one [H, n, m] per sequence."""
        query, key = self._heads(project(self.query, x)), self._heads(project(self.key, source))
        key, found = attention_layout.key_states(key), []
        for rows, sources, count in runs(attention_layout.queries, attention_layout.sources):
            q, k = (side.unflatten(0, (count, -1)).transpose(1, 2) for side in (query[rows], key[sources]))
            scores = q @ k.transpose(-1, -2)
            if self.bias is not None:
                scores = scores + self._scores(attention_layout, rows, sources, count, query)
            found += scores.softmax(-1).unbind(0)
        return found

    def _padded_scores(self, attention_layout: AttentionLayout, like: Tensor) -> Tensor:
        """What is added to the scores of all sequences, with zeros at padding, [B, H, n, m]."""
        n, m = (max(side.lengths, default=0) for side in (attention_layout.queries, attention_layout.sources))
        parts = [
            self._scores(attention_layout, rows, sources, count, like)
            for rows, sources, count in runs(attention_layout.queries, attention_layout.sources)
        ]
        return torch.cat([F.pad(part, (0, m - part.shape[3], 0, n - part.shape[2])) for part in parts])

    def _scores(
        self, attention_layout: AttentionLayout, rows: slice, sources: slice, count: int, like: Tensor
    ) -> Tensor:
        """What is added to the scores of a run of sequences, [c, H, n, m]: the bias, and minus infinity where unseen.

        Queries that are fewer than their sources are the last of these, as in a decoder that goes on row by row.
        """
        device = like.device
        m = (sources.stop - sources.start) // count
        n = (rows.stop - rows.start) // count
        behind = torch.arange(m, device=device)
        if attention_layout.query_rows is None:
            places = torch.arange(m - n, m, device=device).expand(count, n)
        else:
            starts = sources.start + m * torch.arange(count, device=device)
            places = attention_layout.query_rows[rows].view(count, n) - starts[:, None]
        assert self.bias is not None
        bias: Tensor = self.bias(behind - places[..., None]).to(like.dtype)
        if attention_layout.mask is None:
            return bias
        seen = attention_layout.mask.mask_mod(
            (places + sources.start + m * torch.arange(count, device=device)[:, None])[..., None],
            (behind + sources.start + m * torch.arange(count, device=device)[:, None])[:, None],
        )
        return bias.masked_fill(~finite(seen)[:, None], float("-inf"))


class GatedFeedForward(PreNormFeedForward):
    """Norm, two up-projections of which one opens the other, down-projection, residual; no biases (Shazeer 2020)."""

    def __init__(
        self, dim: int, ffn_dim: int, norm: nn.Module, *, activation: str = "gelu_new", dropout: float = 0.1
    ) -> None:
        super().__init__(dim, ffn_dim, norm, activation=activation, dropout=dropout)
        self.gate_proj, self.up_proj = (nn.Linear(dim, ffn_dim, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]."""
        normed = self.norm(x)
        inner = project(self.gate_proj, normed, self.activation) * project(self.up_proj, normed)
        return x + self.drop(project(self.down_proj, self.drop(inner)))


class UnbiasedFeedForward(PreNormFeedForward):
    """Norm, up-projection, activation, down-projection, residual; no biases."""

    def __init__(
        self, dim: int, ffn_dim: int, norm: nn.Module, *, activation: str = "relu", dropout: float = 0.1
    ) -> None:
        super().__init__(dim, ffn_dim, norm, activation=activation, dropout=dropout)
        self.up_proj = nn.Linear(dim, ffn_dim, bias=False)
        self.down_proj = nn.Linear(ffn_dim, dim, bias=False)
        self.activation = activation_named(activation)

    def forward(self, x: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]."""
        inner = project(self.up_proj, self.norm(x), self.activation)
        return x + self.drop(project(self.down_proj, self.drop(inner)))


def relative_attention(
    dim: int, num_heads: int, head_dim: int, norm: NormBuilder, *, bias: RelativeBias | None, dropout: float = 0.1
) -> PreNormAttention:
    """A pre-norm sublayer of :class:`RelativeAttention`."""
    attention = RelativeAttention(dim, num_heads, head_dim=head_dim, bias=bias, dropout=dropout)
    return PreNormAttention(attention, norm(dim), dropout=dropout)
