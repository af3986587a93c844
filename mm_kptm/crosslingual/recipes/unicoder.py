"""Unicoder: XLM further pretrained with word recovery, and the encoder of XGLUE's baseline."""

from mm_kptm.crosslingual.objectives.word_recovery import word_recovery
from mm_kptm.crosslingual.recipes.xlm import XLM_15
from mm_kptm.crosslingual.recipes.xlm_r import XLM_R_BASE
from mm_kptm.systems.recipe import Recipe

UNICODER_15 = Recipe(
    **{
        **vars(XLM_15),
        "name": "unicoder-15",
        "family": "unicoder",
        "paper": "Huang et al. 2019, Unicoder: A Universal Language Encoder by Pre-training with Multiple "
        "Cross-lingual Tasks, EMNLP, arXiv:1909.00964",
        "heads": {**XLM_15.heads, "word-recovery": word_recovery},
        "pretraining_heads": ("masked-tokens",),
        "objectives": (
            *XLM_15.objectives,
            "word-recovery",
            "paraphrase-classification",
            "cross-lingual-masked-tokens",
        ),
        "notes": (
            *XLM_15.notes,
            "neither code nor weights of its pretraining were published; a checkpoint of xlm-15 is the start",
        ),
    }
)

UNICODER_XGLUE = Recipe(
    **{
        **vars(XLM_R_BASE),
        "name": "unicoder-xglue",
        "family": "unicoder-xglue",
        "paper": "Liang et al. 2020, XGLUE: A New Benchmark Dataset for Cross-lingual Pre-training, Understanding and "
        "Generation, EMNLP, arXiv:2004.01401",
        "notes": (*XLM_R_BASE.notes, "the understanding model of XGLUE is XLM-R base, whatever its name"),
    }
)
