"""Searching an index by a text, a picture, or a picture of the index."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.images.decoding import read_picture
from mm_kptm.errors import UserError, nearest
from mm_kptm.suites.search.approximate import ApproximateIndex, open_approximate
from mm_kptm.suites.search.generation import Generation
from mm_kptm.suites.search.index import CURRENT, check_model, open_index
from mm_kptm.suites.search.model import SearchModel
from mm_kptm.suites.search.nearest import top_k

MOST = 1000  #: results of one query


@dataclass(frozen=True)
class Hit:
    """A picture that was found."""

    name: str  #: relative to the indexed folder
    similarity: float  #: cosine of its vector and that of the query, from -1 to 1
    row: int  #: in the generation that was searched


class Searcher:
    """An index and the model that made it; a newer generation is opened as soon as there is one.

    Args:
        index: folder of the index.
        model: that made it.
        exact: whether a FAISS index is left aside.

    Raises:
        UserError: there is no index, or another model made it.
    """

    def __init__(self, index: Path, model: SearchModel, *, exact: bool = False) -> None:
        self.index, self.model = index, model
        self._exact = exact
        self._lock = threading.Lock()
        self._read: tuple[int, int] | None = None
        self.refresh()

    def refresh(self) -> Generation:
        """Open the current generation unless it is open.

        Raises:
            UserError: it is damaged, or of another model.
        """
        with self._lock:
            try:
                found = (self.index / CURRENT).stat()
                now = (found.st_mtime_ns, found.st_ino)
            except OSError:
                now = None
            if now is None or now != self._read:
                generation = open_index(self.index)
                check_model(generation, self.model, self.index)
                approximate = None if self._exact else open_approximate(generation)
                self._opened: tuple[Generation, ApproximateIndex | None] = generation, approximate
                self._read = now
            return self._opened[0]

    @property
    def generation(self) -> Generation:
        """The open generation."""
        return self._opened[0]

    def by_text(self, text: str, k: int = 20) -> list[Hit]:
        """The pictures nearest to a text, best first.

        Raises:
            UserError: the text is empty, or k is below 1 or above :data:`MOST`.
        """
        _check(k)
        return self._nearest(self.model.embed_text(text), k)

    def by_picture(self, path: Path, k: int = 20) -> list[Hit]:
        """The pictures nearest to the one in a file, best first.

        Raises:
            UserError: it cannot be decoded, or k is below 1 or above :data:`MOST`.
        """
        _check(k)
        return self._nearest(self.model.embed_pictures([read_picture(path)])[0], k)

    def like(self, name: str, k: int = 20) -> list[Hit]:
        """The pictures nearest to one of the index, without itself, best first.

        Raises:
            UserError: the index has no picture of that name, or k is below 1 or above :data:`MOST`.
        """
        _check(k)
        generation = self.generation
        if (row := generation.row(name)) is None:
            close = [generation.name(at) for at in range(len(generation))] if len(generation) <= 10_000 else []
            # without the place of the index, which is none of the business of who reads the page
            raise UserError(f"the index has no picture {name!r}{nearest(name, close, otherwise='')}")
        hits = self._nearest(np.array(generation.vectors[row]), k + 1)
        return [hit for hit in hits if hit.row != row][:k]

    def _nearest(self, query: NDArray[np.float32], k: int) -> list[Hit]:
        generation, approximate = self._opened
        if query.shape != (generation.facts.dim,):
            raise UserError(f"the model embeds {len(query)} numbers, but the index holds {generation.facts.dim}")
        found = top_k(generation.vectors, query, k) if approximate is None else approximate.top_k(query, k)
        return [
            Hit(generation.name(row), score, row)
            for score, row in zip(found[0].tolist(), found[1].tolist(), strict=True)
        ]


def _check(k: int) -> None:
    if not 1 <= k <= MOST:
        raise UserError(f"{k} results were asked for; from 1 to {MOST} can be shown")
