"""Translation language modelling: masked tokens of a sentence predicted with its translation as context."""

from __future__ import annotations

from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens

TRANSLATIONS = "sentences beside their translations"
MIXED_DOCUMENTS = "documents with the translation of every sentence"


class TranslationLanguageModeling(MaskedTokens):
    """Masked tokens in concatenated translation pairs (Conneau and Lample 2019, section 3.3).

    The head is that of masked tokens.
    """

    name = "translation-language-modeling"


def _from_context(context: ObjectiveContext) -> TranslationLanguageModeling:
    return TranslationLanguageModeling(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


class CrossLingualMaskedTokens(MaskedTokens):
    """Masked tokens in documents whose every second sentence is translated (Huang et al. 2019, section 3.1).

    The head is that of masked tokens.
    """

    name = "cross-lingual-masked-tokens"


def _cross_lingual(context: ObjectiveContext) -> CrossLingualMaskedTokens:
    return CrossLingualMaskedTokens(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


CROSS_LINGUAL_MASKED_TOKENS = ObjectiveSpec(
    CrossLingualMaskedTokens.name,
    "Huang et al. 2019, Unicoder: A Universal Language Encoder by Pre-training with Multiple Cross-lingual Tasks, "
    "EMNLP, section 3.1",
    _cross_lingual,
    needs=(MIXED_DOCUMENTS,),
)

TRANSLATION_LANGUAGE_MODELING = ObjectiveSpec(
    TranslationLanguageModeling.name,
    "Conneau and Lample 2019, Cross-lingual Language Model Pretraining, NeurIPS, section 3.3",
    _from_context,
    needs=(TRANSLATIONS,),
)
