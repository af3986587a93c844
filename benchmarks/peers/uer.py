"""K-BERT's encoder in the form of the UER toolkit: padded sequences, and a dense matrix of who sees whom.

Written from the description of the released code, with its key names: unbiased norm with eps outside the root, scores
with -10000 added where a token is not seen, every sentence padded to one length.

Shapes: B sentences, N padded length, H heads, D dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """(x - mean) / (std + eps), scaled and shifted."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.gamma * (x - mean) / (std + self.eps) + self.beta


class Embedding(nn.Module):
    """Word, soft position and segment."""

    def __init__(self, dim: int, vocab_size: int, max_positions: int) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(vocab_size, dim)
        self.position_embedding = nn.Embedding(max_positions, dim)
        self.segment_embedding = nn.Embedding(3, dim)
        self.layer_norm = Norm(dim)

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        x = self.word_embedding(ids) + self.position_embedding(positions) + self.segment_embedding(segments)
        return self.layer_norm(x)


class SelfAttention(nn.Module):
    """Queries, keys, values, and what is read."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear_layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))
        self.final_linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        query, key, value = (
            linear(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for linear in self.linear_layers
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) / query.shape[-1] ** 0.5 + added
        read = torch.matmul(scores.softmax(-1), value)
        return self.final_linear(read.transpose(1, 2).contiguous().flatten(2))


def written_gelu(x: Tensor) -> Tensor:
    """The exact GELU as that code writes it out."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class FeedForward(nn.Module):
    """Two maps with the exact GELU between."""

    def __init__(self, dim: int, ffn_dim: int, gelu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.gelu = gelu
        self.linear_1 = nn.Linear(dim, ffn_dim)
        self.linear_2 = nn.Linear(ffn_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.gelu(self.linear_1(x)))


class Layer(nn.Module):
    """A post-norm layer."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, gelu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.self_attn = SelfAttention(dim, num_heads)
        self.layer_norm_1 = Norm(dim)
        self.feed_forward = FeedForward(dim, ffn_dim, gelu)
        self.layer_norm_2 = Norm(dim)

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        x = self.layer_norm_1(self.self_attn(x, added) + x)
        return self.layer_norm_2(self.feed_forward(x) + x)


class Encoder(nn.Module):
    """The published encoder; without dropout, so that gradients can be compared."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        num_layers: int,
        vocab_size: int,
        max_positions: int = 512,
        gelu: Callable[[Tensor], Tensor] = written_gelu,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(dim, vocab_size, max_positions)
        self.encoder = nn.ModuleDict(
            {"transformer": nn.ModuleList(Layer(dim, num_heads, 4 * dim, gelu) for _ in range(num_layers))}
        )
        for table in self.embedding.children():
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor, visible: Tensor) -> Tensor:
        """States [B, N, D] from ids, positions and segments [B, N] and the matrix [B, N, N], one where seen."""
        added = (1.0 - visible.unsqueeze(1).float()) * -10000.0
        x = self.embedding(ids, positions, segments)
        for layer in self.encoder["transformer"]:  # type: ignore[union-attr]
            x = layer(x, added)
        return x
