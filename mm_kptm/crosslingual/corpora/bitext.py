"""Text to pretrain on in several languages: sentences by themselves, and sentences beside their translations.

Both come in one form, so that a mixture of the two is one set of texts put behind the other. Every sentence is framed
the same way wherever it stands, ``[CLS] ... [SEP]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import NamedTuple

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError


class EncodedSentence(NamedTuple):
    """A sentence as ids, without special tokens."""

    ids: Sequence[int]
    language: int


def monolingual(sentences: Iterable[EncodedSentence], specials: Specials) -> Packed:
    """Every sentence alone: what masked language modelling reads.

    >>> monolingual([EncodedSentence((7, 8), 1)], Specials(0, 1, 2, 3, 4)).columns["ids"].tolist()
    [2, 7, 8, 3]
    """
    return _packed([(sentence,) for sentence in sentences], specials)


def translations(pairs: Iterable[tuple[EncodedSentence, EncodedSentence]], specials: Specials) -> Packed:
    """A sentence and its translation in a row: what translation language modelling reads (Conneau and Lample 2019).

    Positions begin anew at the translation and every token carries its language (section 3.4 and figure 1), so that
    words and their translations are found by what they mean and where they stand.

    Raises:
        UserError: both sentences of a pair are in one language.

    >>> pair = EncodedSentence((7, 8), 0), EncodedSentence((9,), 1)
    >>> texts = translations([pair], Specials(0, 1, 2, 3, 4))
    >>> [texts.columns[name].tolist() for name in ("ids", "positions", "languages")]
    [[2, 7, 8, 3, 2, 9, 3], [0, 1, 2, 3, 0, 1, 2], [0, 0, 0, 0, 1, 1, 1]]
    """
    pairs = list(pairs)
    for number, (first, second) in enumerate(pairs):
        if first.language == second.language:
            raise UserError(f"pair {number} is no translation: both sentences are in language {first.language}")
    return _packed(pairs, specials)


def sentence_pairs(pairs: Iterable[tuple[EncodedSentence, EncodedSentence]], specials: Specials) -> Packed:
    """Two sentences in a row as one text: what a model of sentence pairs reads (XNLI; Conneau and Lample 2019, 4.1).

    The sentences share the token between them, which carries the second language, and positions run on.

    >>> pair = EncodedSentence((7, 8), 0), EncodedSentence((9,), 1)
    >>> texts = sentence_pairs([pair], Specials(0, 1, 2, 3, 4))
    >>> [texts.columns[name].tolist() for name in ("ids", "positions", "languages")]
    [[2, 7, 8, 3, 9, 3], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]]
    """
    pairs = list(pairs)
    ids = [(specials.start, *first.ids, specials.stop, *second.ids, specials.stop) for first, second in pairs]
    languages = [
        [first.language] * (len(first.ids) + 1) + [second.language] * (len(second.ids) + 2) for first, second in pairs
    ]
    return Packed.of(ids=ids, positions=[range(len(text)) for text in ids], languages=languages)


def every_pair(meanings: Iterable[Sequence[EncodedSentence]]) -> list[tuple[EncodedSentence, EncodedSentence]]:
    """Of sentences that mean the same in several languages, every pair in both orders."""
    return [pair for sentences in meanings for pair in permutations(sentences, 2)]


def _packed(rows: Sequence[Sequence[EncodedSentence]], specials: Specials) -> Packed:
    ids, positions, languages = [], [], []
    for row in rows:
        framed = [(specials.start, *sentence.ids, specials.stop) for sentence in row]
        ids.append([piece for part in framed for piece in part])
        positions.append([place for part in framed for place in range(len(part))])
        languages.append(
            [sentence.language for sentence, part in zip(row, framed, strict=True) for _ in part],
        )
    return Packed.of(ids=ids, positions=positions, languages=languages)
