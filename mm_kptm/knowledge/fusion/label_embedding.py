"""Embedding of word-level linguistic labels, part of speech and polarity."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.knowledge.lexicons.sentiwordnet import UNKNOWN
from mm_kptm.nn.embeddings import TextEmbedding


class SentimentEmbedding(TextEmbedding):
    """Text embeddings plus part-of-speech, polarity and document-level label embeddings.

    Tokens without a label have the unknown label's row.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        max_positions: int = 514,
        num_segments: int = 1,
        position_offset: int = 2,
        norm: nn.Module | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            vocab_size,
            dim,
            max_positions=max_positions,
            num_segments=num_segments,
            position_offset=position_offset,
            norm=norm,
            dropout=dropout,
        )
        self.marks = nn.ModuleDict({name: nn.Embedding(last + 1, dim) for name, last in UNKNOWN.items()})

    def forward(self, tokens: Tokens) -> Tensor:
        """Embedding of every token, [T, D]."""
        known = tokens.token_labels or {}
        x = self.words(tokens)
        for name, table in self.marks.items():
            x = x + table(known.get(name, torch.full_like(tokens.ids, UNKNOWN[name])))
        return super().forward(replace(tokens, vectors=x))
