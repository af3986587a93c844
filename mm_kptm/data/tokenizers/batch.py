"""Tokenization of many texts at once: arrays of ids and spans instead of an object for every text.

The engine of the ``tokenizers`` library cuts texts on all cores; a tokenizer without one cuts them one by one.

Shapes: S texts, T pieces of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer

IDS, STARTS, STOPS = "ids", "starts", "stops"

_WHITESPACE = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)


@runtime_checkable
class BatchTokenizer(Protocol):
    """Tokenizer that cuts many texts at once."""

    def encode_batch(self, texts: Sequence[str]) -> Packed:
        """As :func:`encode_batch`."""


def encode_batch(tokenizer: Tokenizer, texts: Sequence[str], language: str | None = None) -> Packed:
    """The pieces of texts, in columns ``ids``, and ``starts`` and ``stops`` of their spans in characters, [T] each."""
    if isinstance(tokenizer, BatchTokenizer):
        return tokenizer.encode_batch(texts)
    pieces = [tokenizer.encode(text, language) for text in texts]
    spans = np.array([span for one in pieces for span in one.spans], dtype=np.int32).reshape(-1, 2)
    return _packed([one.ids for one in pieces], spans)


@runtime_checkable
class FastIds(Protocol):
    """Tokenizer that gives the ids of many texts without their spans, which costs less."""

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text."""


def encode_ids(tokenizer: Tokenizer, texts: Sequence[str], language: str | None = None) -> list[Sequence[int]]:
    """The ids of every text, as :func:`encode_batch` has them, without spans."""
    if isinstance(tokenizer, FastIds):
        return [*tokenizer.encode_ids(texts)]
    if isinstance(tokenizer, BatchTokenizer):
        cut = tokenizer.encode_batch(texts)
        return [cut.columns[IDS][first:last].tolist() for first, last in pairwise(cut.offsets.tolist())]
    return [tokenizer.encode(text, language).ids for text in texts]


def from_encodings(encodings: Sequence[Encoding]) -> Packed:
    """The pieces that the engine made of texts."""
    ids = [encoding.ids for encoding in encodings]
    flat = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    return _packed(ids, np.fromiter(flat, np.int32, 2 * sum(map(len, ids))).reshape(-1, 2))


def _packed(ids: Sequence[Sequence[int]], spans: NDArray[np.int32]) -> Packed:
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    numbers = np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum()))
    offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    return Packed(offsets, {IDS: numbers, STARTS: spans[:, 0], STOPS: spans[:, 1]})


@dataclass(frozen=True, eq=False)
class Characters:
    """The characters of texts, end to end, as numbers that say something of each."""

    codes: NDArray[np.uint32]  #: code points
    firsts: NDArray[np.int64]  #: place of the first character of every text

    @classmethod
    def of(cls, texts: Sequence[str]) -> Characters:
        """From the texts; unpaired surrogates are kept."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return cls(codes, lengths.cumsum() - lengths)

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which are whitespace, as ``str.isspace`` says."""
        return np.isin(self.codes, _WHITESPACE)

    @property
    def upper(self) -> NDArray[np.bool_]:
        """Which are capital letters, as ``str.isupper`` says."""
        distinct, places = np.unique(self.codes, return_inverse=True)
        return np.array([chr(code).isupper() for code in distinct], dtype=np.bool_)[places]
