"""BERT with whole-word masking, in English and Chinese: BERT's encoder and checkpoint layout, other pretraining masks.

Masks: :func:`mm_kptm.data.masking.units.whole_words` groups the pieces of a word (Chinese words come from any
segmenter, see :func:`~mm_kptm.data.masking.units.continued`), :class:`~mm_kptm.objectives.tokens.WholeUnitCount` masks
whole words dynamically, and :mod:`mm_kptm.data.masking.static` draws the static masks of the released script.
"""

from typing import Any

from mm_kptm.recipes.bert import BERT_BASE
from mm_kptm.systems.recipe import Recipe

_SHARED: dict[str, Any] = {
    **vars(BERT_BASE),
    "family": "bert_wwm",
    "infer_from_shapes": {"vocab_size": ("encoder.embed.text.word.weight", 0)},
}

_CHINESE = "Cui et al. 2021, Pre-Training with Whole Word Masking for Chinese BERT, IEEE/ACM TASLP, arXiv:1906.08101"

_MASKS = (
    "a word longer than the remaining number of rows to mask is skipped, as in the released script, so long words are "
    "masked less often than their share",
    "every piece of a chosen word is masked, kept or replaced by a draw of its own, and predicted independently",
)

BERT_WWM_CHINESE = Recipe(
    **{
        **_SHARED,
        "name": "bert-wwm-chinese",
        "paper": _CHINESE,
        "sizes": {"vocab_size": 21128},
        "notes": (
            *BERT_BASE.notes,
            *_MASKS,
            "the words were found by the LTP segmenter; here any segmenter's words are taken",
        ),
    }
)

ROBERTA_WWM_CHINESE = Recipe(
    **{
        **vars(BERT_WWM_CHINESE),
        "name": "roberta-wwm-ext-chinese",
        "objectives": ("masked-tokens",),
        "notes": (
            *BERT_WWM_CHINESE.notes,
            "has RoBERTa's training, without next-sentence prediction, and BERT's encoder, vocabulary and names",
        ),
    }
)

ROBERTA_WWM_CHINESE_LARGE = Recipe(
    **{
        **vars(ROBERTA_WWM_CHINESE),
        "name": "roberta-wwm-ext-chinese-large",
        "sizes": {"vocab_size": 21128, "dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)

BERT_WWM_LARGE = Recipe(
    **{
        **_SHARED,
        "name": "bert-wwm-large",
        "paper": "Devlin et al. 2019, BERT, whole-word models of May 31st; method as in NAACL 2019, arXiv:1810.04805",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
        "notes": (*BERT_BASE.notes, *_MASKS),
    }
)
