"""Cross-lingual pretraining objectives: translation language modelling, contrast, denoising, alignment."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.crosslingual.objectives.cross_attention_mask import CrossSentence
    from mm_kptm.crosslingual.objectives.denoising import Denoising, Infilling
    from mm_kptm.crosslingual.objectives.entity_definition import EntityDefinition
    from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
    from mm_kptm.crosslingual.objectives.masked_spans import MaskedSpanGeneration
    from mm_kptm.crosslingual.objectives.masking import xlm_masking
    from mm_kptm.crosslingual.objectives.momentum_contrast import CrossLingualContrast, MomentumContrast
    from mm_kptm.crosslingual.objectives.plugged_attention import MaskedTranslations, PluggedAttention
    from mm_kptm.crosslingual.objectives.word_alignment import WordAlignment
    from mm_kptm.crosslingual.objectives.word_noise import WordDenoising, WordNoise
    from mm_kptm.crosslingual.objectives.word_recovery import TranslatedWords
else:
    __getattr__ = lazy(
        __name__,
        {
            "cross_attention_mask": ["CrossSentence"],
            "denoising": ["Denoising", "Infilling"],
            "entity_definition": ["EntityDefinition"],
            "fairseq_masking": ["FairseqMasking"],
            "masked_spans": ["MaskedSpanGeneration"],
            "masking": ["xlm_masking"],
            "momentum_contrast": ["CrossLingualContrast", "MomentumContrast"],
            "plugged_attention": ["MaskedTranslations", "PluggedAttention"],
            "word_alignment": ["WordAlignment"],
            "word_noise": ["WordDenoising", "WordNoise"],
            "word_recovery": ["TranslatedWords"],
        },
    )

__all__ = [
    "CrossLingualContrast",
    "CrossSentence",
    "Denoising",
    "EntityDefinition",
    "FairseqMasking",
    "Infilling",
    "MaskedSpanGeneration",
    "MaskedTranslations",
    "MomentumContrast",
    "PluggedAttention",
    "TranslatedWords",
    "WordAlignment",
    "WordDenoising",
    "WordNoise",
    "xlm_masking",
]
