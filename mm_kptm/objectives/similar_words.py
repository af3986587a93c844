"""Similar words in place of the mask, which no text of fine-tuning ever shows (Cui et al. 2020, MacBERT).

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
    """A masked word becomes one of the words similar to it, or random tokens where none is known.

    Args:
        similar: to the pieces of a word those of others, as many of them, since every piece is to be predicted.
    """

    def __init__(self, similar: Mapping[Ids, Sequence[Ids]]) -> None:
        self.similar = similar

    @classmethod
    def of(
        cls, table: Mapping[str, Sequence[str]], encode: Callable[[str], Sequence[int]], unknown: int
    ) -> SimilarWords:
        """From words; similar ones of more or fewer pieces are left out, and so is what has an ``unknown`` piece."""
        found: dict[Ids, list[Ids]] = {}
        for word, others in table.items():
            pieces = tuple(encode(word))
            for other in others:
                instead = tuple(encode(other))
                if len(instead) == len(pieces) and unknown not in (*pieces, *instead):
                    found.setdefault(pieces, []).append(instead)
        return cls(found)

    def __call__(self, tokens: Tokens, masked: Tensor, random: Tensor, draws: MaskingDraws) -> Tensor:
        """See :class:`mm_kptm.objectives.tokens.Replacement`; words are the units of the tokens."""
        rows = masked.nonzero().squeeze(1)
        words = rows if tokens.mask_groups is None else tokens.mask_groups[rows]
        shown = random.clone()
        _, sizes = torch.unique_consecutive(words, return_counts=True)
        for word in rows.split(sizes.tolist()) if len(rows) else ():
            others = self.similar.get(tuple(tokens.ids[word].tolist()))
            if others:
                # the draw for a random token, of which this word has none
                shown[word] = torch.tensor(others[int(draws.replace[word[0]] * len(others))])
        return shown


def similar_words_masking(
    mask_id: int,
    pool: tuple[int, int],
    never: frozenset[int],
    similar: SimilarWords,
    rule: RunRule | None = None,
) -> RunMasking:
    """MacBERT's: n-grams of words, 80 % of the words similar ones, 10 % random, 10 % as they are (section 3.1)."""
    masking = replace(everything(mask_id, pool, never), replacement=similar)
    return RunMasking(masking, WholeGrams() if rule is None else rule, word_by_word)


SIMILAR_WORDS = "a table of similar words"  #: what data offer as :class:`SimilarWords`


def _masked_similar_words(context: ObjectiveContext) -> MaskedTokens:
    specials, similar = context.specials, context.offered(SIMILAR_WORDS)
    rule = WholeGrams(rate=context.mask_rate)
    pool = (0, context.vocab_size)
    return MaskedTokens(similar_words_masking(specials.mask, pool, specials.never_hidden, similar, rule))


MASKED_SIMILAR_WORDS = ObjectiveSpec(
    "masked-similar-words",
    "Cui et al. 2020, MacBERT, Findings of EMNLP, section 3.1",
    _masked_similar_words,
    needs=(TEXTS, SIMILAR_WORDS),
)
