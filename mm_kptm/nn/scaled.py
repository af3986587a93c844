"""Word embeddings scaled at lookup, and the output projection tied to the unscaled table.

Shapes: T tokens, P rows, V vocabulary, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScaledEmbedding(nn.Embedding):
    """Word embedding multiplied by a constant at lookup (Vaswani et al. 2017, section 3.4)."""

    def __init__(self, vocab_size: int, dim: int, scale: float) -> None:
        super().__init__(vocab_size, dim)
        self.scale = scale

    def forward(self, ids: Tensor) -> Tensor:
        """[T] -> [T, D]."""
        return super().forward(ids) * self.scale


class TiedProjection(nn.Module):
    """Vocabulary logits with the word table as output matrix; the optional bias is not trained."""

    def __init__(self, word: nn.Embedding, *, bias: bool = False) -> None:
        super().__init__()
        self.word = word
        self.bias = nn.Parameter(torch.zeros(1, word.num_embeddings), requires_grad=False) if bias else None

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, V]."""
        scores = nn.functional.linear(rows, self.word.weight)
        return scores if self.bias is None else scores + self.bias
