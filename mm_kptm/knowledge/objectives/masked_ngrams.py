"""Masked language modelling with ZEN's n-grams."""

from __future__ import annotations

from dataclasses import replace

import torch

from mm_kptm.batch import Inputs
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS, NgramLexicon
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, TokenMasker


class MaskedTokensAmongNgrams(MaskedTokens):
    """Predict masked tokens from a text with the n-grams that still match in it.

    Args:
        masking: masks tokens.
        lexicon: matched on the masked text, as in the released code; n-grams of the original text would leak.
        most: maximum number of n-grams of a text.
    """

    def __init__(self, masking: TokenMasker, lexicon: NgramLexicon, *, most: int = 20) -> None:
        super().__init__(masking)
        self.lexicon = lexicon
        self.most = most

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Mask some tokens, and match the n-grams of the masked text.

        Raises:
            UserError: there is no text.
        """
        batch = super().prepare(inputs, generator)
        if batch.inputs.text is None:
            raise TypeError("a batch of masked tokens has a text")
        found = self.lexicon.candidates(batch.inputs.text, generator, most=self.most)
        return replace(batch, inputs=replace(batch.inputs, candidates={N_GRAMS: found}))
