"""Masking by similar words instead of the mask token (Cui et al. 2020, MacBERT).

Shapes: T token rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mm_kptm.batch import Tokens
from mm_kptm.objectives.spans import RunMasking, RunRule, WholeGrams, everything, word_by_word
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens, MaskingDraws

Ids = tuple[int, ...]


class SimilarWords:
    """Replacement of masked words by similar words, or by random tokens where none is known.

    Args:
        similar: word pieces of similar words by the pieces of a word; of equal number, since every piece is predicted.
    """

    def __init__(self, similar: Mapping[Ids, Sequence[Ids]]) -> None:
        self.similar = similar

    @classmethod
    def of(
        cls, table: Mapping[str, Sequence[str]], encode: Callable[[str], Sequence[int]], unknown: int
    ) -> SimilarWords:
        """From words; similar words of another number of pieces or with an ``unknown`` piece are left out."""
        found: dict[Ids, list[Ids]] = {}
        for word, others in table.items():
            pieces = tuple(encode(word))
            for other in others:
                replacement = tuple(encode(other))
                if len(replacement) == len(pieces) and unknown not in (*pieces, *replacement):
                    found.setdefault(pieces, []).append(replacement)
        return cls(found)

    def __call__(self, tokens: Tokens, masked: Tensor, random: Tensor, draws: MaskingDraws) -> Tensor:
        """See :class:`mm_kptm.objectives.tokens.Replacement`; words are the mask groups of the tokens."""
        rows = masked.nonzero().squeeze(1)
        words = rows if tokens.mask_groups is None else tokens.mask_groups[rows]
        shown = random.clone()
        _, sizes = torch.unique_consecutive(words, return_counts=True)
        for word in rows.split(sizes.tolist()) if len(rows) else ():
            others = self.similar.get(tuple(tokens.ids[word].tolist()))
            if others:
                # reuses the draw of the random token, which this word does not need
                shown[word] = torch.tensor(others[int(draws.replace[word[0]] * len(others))])
        return shown


def similar_words_masking(
    mask_id: int,
    pool: tuple[int, int],
    never: frozenset[int],
    similar: SimilarWords,
    rule: RunRule | None = None,
) -> RunMasking:
    """MacBERT's masking: word n-grams, 80 % replaced by similar words, 10 % random, 10 % unchanged (section 3.1)."""
    masking = replace(everything(mask_id, pool, never), replacement=similar)
    return RunMasking(masking, WholeGrams() if rule is None else rule, word_by_word)


SIMILAR_WORDS = "a table of similar words"  #: need fulfilled by :class:`SimilarWords`


def _masked_similar_words(context: ObjectiveContext) -> MaskedTokens:
    specials, similar = context.specials, context.offered(SIMILAR_WORDS)
    rule = WholeGrams(rate=context.mask_rate)
    pool = (0, context.vocab_size)
    return MaskedTokens(similar_words_masking(specials.mask_id, pool, specials.never_masked, similar, rule))


MASKED_SIMILAR_WORDS = ObjectiveSpec(
    "masked-similar-words",
    "Cui et al. 2020, MacBERT, Findings of EMNLP, section 3.1",
    _masked_similar_words,
    needs=(TEXTS, SIMILAR_WORDS),
)
