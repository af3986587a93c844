"""MacBERT: BERT with masked-language modelling as correction, similar words in place of mask tokens.

:func:`mm_kptm.data.formats.similar_words.read_similar_words` reads a table of similar words, and
:func:`mm_kptm.objectives.similar_words.similar_words_masking` replaces words and n-grams by them.
"""

from typing import Any

from mm_kptm.recipes.bert import BERT_BASE, masked_tokens, pair_classes
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename

_ORDER = "cls.seq_relationship.{leaf}"

_SHARED: dict[str, Any] = {
    **vars(BERT_BASE),
    "family": "macbert",
    "paper": "Cui et al. 2020, Revisiting Pre-Trained Models for Chinese Natural Language Processing, Findings of "
    "EMNLP, arXiv:2004.13922",
    "heads": {"masked-tokens": masked_tokens, "sentence-order": pair_classes},
    "objectives": ("masked-tokens", "sentence-order"),
    "weights": (
        *(rule for rule in BERT_BASE.weights if rule.theirs != _ORDER),
        Rename(_ORDER, "heads.sentence-order.{leaf}"),
    ),
    "infer_from_shapes": {"vocab_size": ("encoder.embed.text.word.weight", 0)},
    "notes": (
        *BERT_BASE.notes,
        "the code of its pretraining was not released: which n-grams may follow each other, and that class 1 of "
        "sentence-order means swapped, is as recalled from ALBERT",
        "a word is replaced by a similar word with as many pieces; the paper does not say how others are treated, here "
        "they are left out of the table",
        "the similar words were found by the Synonyms toolkit; here any table is taken",
    ),
}

MACBERT_BASE = Recipe(**{**_SHARED, "name": "macbert-base-chinese", "sizes": {"vocab_size": 21128}})

MACBERT_LARGE = Recipe(
    **{
        **_SHARED,
        "name": "macbert-large-chinese",
        "sizes": {"vocab_size": 21128, "dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
