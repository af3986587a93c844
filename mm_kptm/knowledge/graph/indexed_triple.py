"""Triples as three columns of ids."""

from __future__ import annotations

from typing import NamedTuple


class IndexedTriple(NamedTuple):
    """One fact by the numbers of its entities and of its relation."""

    head: int
    relation: int
    tail: int
