"""Triples of surface strings, their verbalisation, and line-by-line readers."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mm_kptm.data.formats.arrow_folders import read_rows
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.bulk_reader import IndexedTriples

_AT_ONCE = 1 << 13  # triples that are numbered in one go


class Triple(NamedTuple):
    """One triple of surface strings."""

    head: str
    relation: str
    tail: str


Wording = Callable[[Triple], str]  #: a fact as the text of a branch


def relation_and_tail(triple: Triple) -> str:
    """Relation and tail without a space, as in K-BERT's classification tasks."""
    return triple.relation + triple.tail


def relation_blank_tail(triple: Triple) -> str:
    """Relation and tail with a space between, for languages written with spaces."""
    return f"{triple.relation} {triple.tail}"


def tail_only(triple: Triple) -> str:
    """Tail alone, as in K-BERT's named entity recognition."""
    return triple.tail


@dataclass(frozen=True)
class TripleFiles(Iterable[Triple]):
    """Triples of several files, in order."""

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Triple]:
        return chain.from_iterable(map(read_triples, self.paths))


def number_triples(triples: Iterable[Sequence[str]]) -> IndexedTriples:
    """Number names and relations in order of first occurrence.

    Raises:
        UserError: a triple has not three parts.
    """
    names: defaultdict[str, int] = defaultdict(count().__next__)  # so that one look-up finds or gives a number
    relations: defaultdict[str, int] = defaultdict(count().__next__)
    numbers = array("i")  # grows in place
    rows = iter(triples)
    while block := list(islice(rows, _AT_ONCE)):
        if wrong := next((row for row in block if len(row) != 3), None):
            raise UserError(f"a triple is head, relation and tail, not {wrong!r}")
        flat = list(chain.from_iterable(block))
        part = np.empty((len(block), 3), dtype=np.intc)
        part[:, 1] = np.fromiter(map(relations.__getitem__, flat[1::3]), np.intc, len(block))
        del flat[1::3]
        part[:, ::2] = np.fromiter(map(names.__getitem__, flat), np.intc, len(flat)).reshape(-1, 2)
        numbers.frombytes(part.tobytes())
    return IndexedTriples(tuple(names), tuple(relations), np.frombuffer(numbers, np.intc).reshape(-1, 3))


def read_triples(path: Path) -> Iterator[Triple]:
    """Read triples line by line, all parts as text ("NA" and "007" too); empty lines are skipped.

    A folder that the library ``datasets`` saved has the columns ``head``, ``relation`` and ``tail``.

    Raises:
        UserError: there is no such file, or a line does not hold three parts; the message names the line.
    """
    if path.is_dir():
        yield from _rows(path)
        return
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .spo or .tsv file with head, relation, tail")
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            empty = [f"number {place}" for place, part in enumerate(parts, 1) if not part]
            blank = (
                f", of which {', '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
                if len(parts) > 1 and empty
                else ""
            )
            raise UserError(
                f"{path}, line {number} holds {len(parts)} parts between tabs{blank} ({line[:60]!r}); "
                f"a triple is head, relation and tail"
            )
        yield Triple(*parts)


def _rows(folder: Path) -> Iterator[Triple]:
    for number, row in enumerate(read_rows(folder, Triple._fields), 1):
        triple = Triple(*map(str.strip, row))
        if not all(triple):
            empty = next(name for name, part in zip(Triple._fields, triple, strict=True) if not part)
            raise UserError(f"{folder}, row {number} has no {empty}; a triple is head, relation and tail")
        yield triple
