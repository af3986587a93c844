"""InfoWord: BERT's encoder under masked tokens and the mutual information of sentences and their n-grams."""

from __future__ import annotations

from mm_kptm.recipes.bert import BERT_BASE
from mm_kptm.systems.recipe import Recipe

INFOWORD_BASE = Recipe(
    **{
        **vars(BERT_BASE),
        "name": "infoword-base",
        "family": "infoword",
        "paper": "Kong et al. 2020, A Mutual Information Maximization Perspective of Language Representation Learning, "
        "ICLR, arXiv:1910.08350",
        "objectives": ("masked-tokens", "ngram-contrast"),
        "notes": (
            *BERT_BASE.notes,
            "no code or weights were released; BERT's checkpoints are read",
            "n-grams have up to ten tokens; the weights of the two objectives are those of the experiment",
        ),
    }
)
