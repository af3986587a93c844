"""BERT with whole-word masking, in English and Chinese: BERT's encoder and files, other masks in its pretraining.

The masks: :func:`mm_kptm.data.masking.units.whole_words` says which pieces are one word (Chinese words come from any
segmenter, :func:`~mm_kptm.data.masking.units.continued` marks them),
:class:`~mm_kptm.objectives.tokens.WholeUnitCount` hides whole words in every batch anew, and
:func:`mm_kptm.data.masking.static.hide` draws the masks of the released script.
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
    "a word that is longer than what may still be hidden is never hidden, as in the released script, so long words are "
    "seen less often than their share",
    "every piece of a chosen word is masked, kept or replaced by a draw of its own, and predicted by itself",
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
            "has RoBERTa's training, without next sentences, but BERT's encoder, segments, vocabulary and names",
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
