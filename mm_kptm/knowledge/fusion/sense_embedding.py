"""Embedding of word senses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.supersenses import SUPERSENSES, SenseVocabulary
from mm_kptm.nn.embeddings import TextEmbedding


class SenseEmbedding(TextEmbedding):
    r"""Text embeddings plus the vectors of all allowed supersenses of a word (Levine et al. 2020, section 3.3, eq. 8).

    .. math:: v = (W + S M) x + p

    with a constant :math:`M` of zeros and ones, stored as :attr:`allowed`; until :meth:`allow` or a saved system fills
    it, no word has a sense and this is BERT's embedding.
    """

    def __init__(
        self, vocab_size: int, dim: int, *, max_positions: int = 512, num_segments: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
        self.sense = nn.Embedding(len(SUPERSENSES), dim)
        nothing = torch.zeros(vocab_size, len(SUPERSENSES), dtype=torch.bool)
        self.allowed = nn.Parameter(nothing, requires_grad=False)

    @torch.no_grad()
    def allow(self, senses: SenseVocabulary) -> None:
        """Set the allowed senses of every word piece from a vocabulary.

        Raises:
            UserError: the vocabulary has another size.
        """
        if senses.allowed.shape != self.allowed.shape:
            raise UserError(
                f"the senses are those of {len(senses.allowed)} pieces, but this model has {len(self.allowed)}; build "
                f"it with vocab_size={len(senses.allowed)}"
            )
        self.allowed.copy_(senses.allowed)

    def forward(self, tokens: Tokens) -> Tensor:
        """Embedding of every token, [T, D]."""
        words = self.words(tokens)
        meant = self.allowed[tokens.ids].to(words.dtype) @ self.sense.weight
        return super().forward(replace(tokens, vectors=words + meant))
