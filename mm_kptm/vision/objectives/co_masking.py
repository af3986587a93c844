"""Masked words of a caption and of its translation, with the image as context (Zhou et al. 2021, UC2).

Shapes: T token rows, B examples.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.spec import REGIONS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import BernoulliOrAny, MaskedTokens, Masking, TokenMasker

TRANSLATED_CAPTIONS = "captions beside their translations"


class VisualTranslationLanguageModeling(MaskedTokens):
    """Masked tokens of a caption, its translation and its image in a row (Zhou et al. 2021, section 3.3, VTLM).

    In a share of the examples, words are masked together with the words of the translation that are aligned to them,
    so that they cannot be copied from there; in the others every token is masked by itself. The mask groups of the text
    say which rows are aligned, and -1 which have no partner. The head is that of masked tokens.

    Args:
        masking: of tokens or groups.
        share: probability that aligned words of an example are masked together.

    Raises:
        UserError: ``share`` is no probability.
    """

    name = "visual-translation-language-modeling"

    def __init__(self, masking: TokenMasker, *, share: float = 0.5) -> None:
        super().__init__(masking)
        if not 0 <= share <= 1:
            raise UserError(f"a share of {share} of the examples is no probability; choose one from 0 to 1")
        self.share = share

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Mask some tokens of each example, alone or with those that are aligned.

        Raises:
            UserError: there is no text, or it says nothing of alignment.
        """
        text = inputs.text
        if text is None or text.mask_groups is None:
            raise UserError(f"{self.name} masks aligned words, but the inputs have no text with mask groups")
        together = torch.rand(len(text.layout), generator=generator) < self.share
        sequence_ids = text.layout.sequence_ids(text.ids.device)
        alone = torch.arange(len(text.ids)) + int(text.mask_groups.max().clamp(min=0)) + 1
        groups = torch.where(together[sequence_ids], text.mask_groups, alone)
        return super().prepare(inputs.with_streams(text=replace(text, mask_groups=groups)), generator)


def _from_context(context: ObjectiveContext) -> VisualTranslationLanguageModeling:
    masking = Masking.of(context, BernoulliOrAny(context.mask_rate))
    return VisualTranslationLanguageModeling(masking, **context.arguments)


VISUAL_TRANSLATION_LANGUAGE_MODELING = ObjectiveSpec(
    VisualTranslationLanguageModeling.name,
    "Zhou et al. 2021, UC2, CVPR, section 3.3",
    _from_context,
    needs=(REGIONS, TRANSLATED_CAPTIONS),
)
