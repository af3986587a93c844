"""Tokenizer protocol: pieces, special tokens and framed sequences."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Protocol

from mm_kptm.errors import UserError


@dataclass(frozen=True)
class Pieces:
    """A tokenized text, without special tokens."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]  #: as the vocabulary spells them
    spans: tuple[tuple[int, int], ...]  #: first character of the text, and the one after the last

    def covering(self, start: int, end: int) -> range:
        """The pieces that overlap the characters from ``start`` up to ``end``.

        None where a tokenizer drops all of these.

        >>> Pieces((7, 8, 9), ("in", "ro", "##me"), ((0, 2), (3, 5), (5, 7))).covering(3, 7)
        range(1, 3)
        """
        first = bisect_right(self.spans, start, key=itemgetter(1))
        behind = bisect_left(self.spans, end, key=itemgetter(0)) if start < end else first
        return range(first, max(first, behind))


@dataclass(frozen=True)
class Specials:
    """Ids of the special tokens."""

    pad: int
    unknown: int
    start: int
    stop: int  #: at the end of every part
    mask: int  #: ``unknown`` where a tokenizer has no mask token
    between: int = 1  #: number of stop tokens between two parts; two in RoBERTa-like models, which have no segments
    opens: bool = field(
        default=True, kw_only=True
    )  #: whether a sequence begins with ``start``; T5's and SigLIP's do not

    @property
    def never_masked(self) -> frozenset[int]:
        """Ids that are never masked."""
        return frozenset({self.pad, self.start, self.stop})

    @property
    def mask_id(self) -> int:
        """Id of the mask token.

        Raises:
            UserError: the tokenizer has none.
        """
        if self.mask == self.unknown:
            raise UserError(
                "a mask token is needed, but the tokenizer has none; take a tokenizer with one, or an objective "
                "without, such as span-corruption or next-tokens"
            )
        return self.mask

    def around(self, parts: int) -> int:
        """Number of special tokens around ``parts`` parts."""
        return int(self.opens) + parts + (parts - 1) * (self.between - 1)


#: How BERT's vocabulary files, and Number World, spell the special tokens.
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer(Protocol):
    """Interface of tokenizers."""

    specials: Specials
    vocabulary: tuple[str, ...]  #: every piece; its place is its id

    def __len__(self) -> int:
        """Number of ids."""

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text; only tokenizers that cut languages differently look at ``language``."""


def framed(specials: Specials, *parts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids and segments of ``[CLS] A [SEP] B [SEP]``; a part's segment is its number, its ``[SEP]`` included.

    >>> framed(Specials(0, 1, 2, 3, 4), (7, 8), (9,))
    ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])

    RoBERTa's ``<s> A </s></s> B </s>``:

    >>> framed(Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2), (7, 8), (9,))
    ([0, 7, 8, 2, 2, 9, 2], [0, 0, 0, 0, 0, 1, 1])

    SigLIP's ``A </s>``:

    >>> framed(Specials(pad=1, unknown=2, start=1, stop=1, mask=2, opens=False), (7, 8))
    ([7, 8, 1], [0, 0, 0])
    """
    ids, segments = ([specials.start], [0]) if specials.opens else ([], [])
    for number, part in enumerate(parts, 1):
        stops = specials.between if number < len(parts) else 1
        ids += [*part, *[specials.stop] * stops]
        segments += [number - 1] * (len(part) + stops)
    return ids, segments
