"""Bulk reader of triple files with pyarrow, several times as fast as line by line.

A file is read block by block and a name is kept once: memory grows with what is in the graph, not with the text.
Only well-formed files are read here. Anything else is left to :func:`mm_kptm.knowledge.graph.triples.read_triples`,
which goes line by line and names the malformed line.
"""

from __future__ import annotations

import lzma
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_kptm.io.text_lines import open_bytes
from mm_kptm.knowledge.graph.triple_store import Integers

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("head", "relation", "tail")
BLOCK = 1 << 19  #: bytes that are read at once
Numbers = defaultdict[str, int]
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class IndexedTriples:
    """Names and relations in order of first occurrence, and the triples by id."""

    names: tuple[str, ...]
    relations: tuple[str, ...]
    triples: Integers  #: by number, in the order of the files, [M, 3]


def read_at_once(paths: Sequence[Path]) -> IndexedTriples | None:
    """Read tab-separated triples of several files; None where a line is malformed or needs the line-by-line reader."""
    import pyarrow as pa

    names: Numbers = defaultdict(count().__next__)  # so that one look-up finds or gives a number
    relations: Numbers = defaultdict(count().__next__)
    rows = array("i")  # grows in place, where parts that are joined at the end would be there twice
    for path in paths:
        for block in _blocks(path):
            if block is None or (part := _part(block, names, relations)) is None:
                return None
            rows.frombytes(part.tobytes())
    if not rows or any(not name or name != name.strip() for some in (names, relations) for name in some):
        return None
    pa.default_memory_pool().release_unused()
    return IndexedTriples(tuple(names), tuple(relations), np.frombuffer(rows, np.intc).reshape(-1, 3))


def _part(block: bytes, names: Numbers, relations: Numbers) -> Integers | None:
    """The triples of a block by number, [m, 3]; names that are new are added. None where a line is malformed."""
    import pyarrow as pa

    if (table := _table(block)) is None:
        return None
    # heads and tails in turns, which is the order of first occurrence
    in_turns = np.arange(2 * len(table), dtype=np.int32).reshape(2, -1).T.ravel()
    ends = pa.concat_arrays([*table["head"].chunks, *table["tail"].chunks]).take(pa.array(in_turns))
    part: Integers = np.empty((len(table), 3), dtype=np.intc)
    part[:, ::2] = _numbers(ends, names).reshape(-1, 2)
    part[:, 1] = _numbers(table["relation"].combine_chunks(), relations)
    return part


def _numbers(texts: pa.Array, known: Numbers) -> Integers:
    """The number of each text; new ones are added in order of first occurrence."""
    coded = texts.dictionary_encode()
    distinct = coded.dictionary.to_numpy(zero_copy_only=False)
    numbers: Integers = np.fromiter(map(known.__getitem__, distinct), np.int32, len(distinct))
    return numbers[coded.indices.to_numpy()]


def _blocks(path: Path) -> Iterator[bytes | None]:
    """Iterate over whole lines of a file; None where the rest cannot be read."""
    try:
        with open_bytes(path) as file:
            rest = b""
            while True:
                try:
                    read = file.read(BLOCK)
                except _BROKEN:
                    yield None
                    return
                cut = read.rfind(b"\n") + 1 if read else 0
                if block := rest + read[:cut] if cut or not read else b"":
                    yield block
                if not read:
                    return
                rest = read[cut:] if cut else rest + read
    except OSError:
        yield None


def _table(block: bytes) -> pa.Table | None:
    import pyarrow as pa
    from pyarrow import csv

    if b"\r" in block or b"\0" in block:
        return None  # a carriage return ends a line for Arrow wherever it stands, and UTF-16 is full of zeros
    try:
        return csv.read_csv(
            pa.BufferReader(block),
            read_options=csv.ReadOptions(column_names=_COLUMNS, use_threads=False),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string())),
        )
    except pa.ArrowException:
        return None
