"""Texts on disk: their UTF-8 bytes as the rows of a token store, memory-mapped and decoded when a text is read.

For words that are changed in every batch, which tokens do not give back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized, stored

UTF8 = "utf8"


@dataclass(frozen=True, eq=False)
class StoredTexts:
    """Texts by number; their column ``utf8`` may be mapped.

    >>> StoredTexts(as_bytes(["Käse", "", "two"]).rows)[0]
    'Käse'
    """

    rows: Packed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> str:
        first, end = self.rows.offsets[[number, number + 1]]
        return self.rows.columns[UTF8][first:end].tobytes().decode()


def stored_texts(folder: Path, texts: Callable[[], Iterable[str]], *, source: Mapping[str, object]) -> StoredTexts:
    """The texts of a folder, written first if it is not there; arguments and errors as :func:`stored`."""
    return StoredTexts(stored(folder, texts, as_bytes, source=source).rows)


def as_bytes(texts: Sequence[str]) -> Tokenized:
    """The bytes of texts, column ``utf8``."""
    parts = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return Tokenized(Packed(offsets, {UTF8: np.frombuffer(b"".join(parts), np.uint8)}))
