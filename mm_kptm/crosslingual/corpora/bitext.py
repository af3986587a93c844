"""Monolingual sentences and translation pairs as packed pretraining data.

Both have the same format, so that they can be concatenated. Every sentence is framed as ``[CLS] ... [SEP]``, without
``[CLS]`` where a tokenizer opens no text (T5's).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import NamedTuple

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.errors import UserError


class EncodedSentence(NamedTuple):
    """A sentence as ids, without special tokens."""

    ids: Sequence[int]
    language: int


def monolingual(sentences: Iterable[EncodedSentence], specials: Specials) -> Packed:
    """Sentences for masked language modelling, one per example.

    >>> monolingual([EncodedSentence((7, 8), 1)], Specials(0, 1, 2, 3, 4)).columns["ids"].tolist()
    [2, 7, 8, 3]
    """
    return _packed([(sentence,) for sentence in sentences], specials)


def translations(pairs: Iterable[tuple[EncodedSentence, EncodedSentence]], specials: Specials) -> Packed:
    """Concatenated translation pairs for translation language modelling (Conneau and Lample 2019).

    Positions restart at the translation and every token carries its language id (section 3.4 and figure 1).

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
    """Concatenated sentence pairs for classification (XNLI; Conneau and Lample 2019, section 4.1).

    The sentences share the separator between them, which carries the second language, and positions continue.

    >>> pair = EncodedSentence((7, 8), 0), EncodedSentence((9,), 1)
    >>> texts = sentence_pairs([pair], Specials(0, 1, 2, 3, 4))
    >>> [texts.columns[name].tolist() for name in ("ids", "positions", "languages")]
    [[2, 7, 8, 3, 9, 3], [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]]
    """
    pairs = list(pairs)
    begun = [specials.start] * specials.opens
    ids = [(*begun, *first.ids, specials.stop, *second.ids, specials.stop) for first, second in pairs]
    languages = [
        [first.language] * (len(begun) + len(first.ids)) + [second.language] * (len(second.ids) + 2)
        for first, second in pairs
    ]
    return Packed.of(ids=ids, positions=[range(len(text)) for text in ids], languages=languages)


def alternating_documents(
    pairs: Sequence[tuple[EncodedSentence, EncodedSentence]], specials: Specials, *, max_length: int
) -> Packed:
    """Documents of consecutive sentences whose every second one is translated (Huang et al. 2019, section 3.1).

    Sentences end with the separator; a sentence that does not fit begins the next document, and one that is longer
    than a document is cut. Each document begins in the first language.

    >>> said = [((7,), (8,)), ((5,), (6,))]
    >>> pairs = [(EncodedSentence(one, 0), EncodedSentence(other, 1)) for one, other in said]
    >>> documents = alternating_documents(pairs, Specials(0, 1, 2, 3, 4), max_length=16)
    >>> documents.columns["ids"].tolist(), documents.columns["languages"].tolist()
    ([2, 7, 3, 6, 3], [0, 0, 0, 1, 1])
    """
    ids: list[list[int]] = []
    languages: list[list[int]] = []
    count, room = 0, max_length - specials.around(1)
    for pair in pairs:
        shown = pair[count % 2].ids[:room]
        if not ids or len(ids[-1]) + len(shown) + 1 > max_length:
            count, shown = 0, pair[0].ids[:room]
            ids.append([specials.start] * specials.opens)
            languages.append([pair[0].language] * specials.opens)
        ids[-1] += [*shown, specials.stop]
        languages[-1] += [pair[count % 2].language] * (len(shown) + 1)
        count += 1
    return Packed.of(ids=ids, positions=[range(len(text)) for text in ids], languages=languages)


def every_pair(meanings: Iterable[Sequence[EncodedSentence]]) -> list[tuple[EncodedSentence, EncodedSentence]]:
    """Every pair of translations in both orders, from sentences aligned over several languages."""
    return [pair for sentences in meanings for pair in permutations(sentences, 2)]


def _packed(rows: Sequence[Sequence[EncodedSentence]], specials: Specials) -> Packed:
    ids, positions, languages = [], [], []
    for row in rows:
        parts = [framed(specials, sentence.ids)[0] for sentence in row]
        ids.append([piece for part in parts for piece in part])
        positions.append([place for part in parts for place in range(len(part))])
        languages.append([sentence.language for sentence, part in zip(row, parts, strict=True) for _ in part])
    return Packed.of(ids=ids, positions=positions, languages=languages)
