"""Translation language modelling: masked tokens of a sentence predicted with its translation as context."""

from __future__ import annotations

from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens

TRANSLATIONS = "sentences beside their translations"


class TranslationLanguageModeling(MaskedTokens):
    """Masked tokens in concatenated translation pairs (Conneau and Lample 2019, section 3.3).

    The head is that of masked tokens.
    """

    name = "translation-language-modeling"


def _from_context(context: ObjectiveContext) -> TranslationLanguageModeling:
    return TranslationLanguageModeling(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


TRANSLATION_LANGUAGE_MODELING = ObjectiveSpec(
    TranslationLanguageModeling.name,
    "Conneau and Lample 2019, Cross-lingual Language Model Pretraining, NeurIPS, section 3.3",
    _from_context,
    needs=(TRANSLATIONS,),
)
