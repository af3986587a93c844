"""Masked tokens of a text that n-grams lie beside."""

from __future__ import annotations

from dataclasses import replace

import torch

from mm_kptm.batch import Inputs
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS, NgramLexicon
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, TokenMasker


class MaskedTokensAmongNgrams(MaskedTokens):
    """Predict hidden tokens from a text with the n-grams that can still be seen in it.

    Args:
        masking: how tokens are hidden.
        lexicon: looked up in the corrupted text, as the released code does; the inputs' own n-grams would tell.
        most: n-grams of a text.
    """

    def __init__(self, masking: TokenMasker, lexicon: NgramLexicon, *, most: int = 20) -> None:
        super().__init__(masking)
        self.lexicon = lexicon
        self.most = most

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Hide some tokens, and find the n-grams of what is left.

        Raises:
            UserError: there is no text to hide.
        """
        batch = super().prepare(inputs, generator)
        if batch.inputs.text is None:
            raise TypeError("a puzzle of hidden tokens has a text")
        found = self.lexicon.candidates(batch.inputs.text, generator, most=self.most)
        return replace(batch, inputs=replace(batch.inputs, candidates={N_GRAMS: found}))
