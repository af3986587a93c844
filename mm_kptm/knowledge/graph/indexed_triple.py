"""Triples as three columns of ids."""

from __future__ import annotations

from typing import NamedTuple


class IndexedTriple(NamedTuple):
    """One triple by entity and relation ids."""

    head: int
    relation: int
    tail: int
