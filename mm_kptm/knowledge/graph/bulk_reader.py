"""Bulk reader of triple files with pyarrow: a million lines in 0.25 s, against 2 s line by line.

Only well-formed files are read here. Anything else is left to :func:`mm_kptm.knowledge.graph.triples.read_triples`,
which goes line by line and names the malformed line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_kptm.io.text_lines import compression
from mm_kptm.knowledge.graph.triple_store import Integers

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("head", "relation", "tail")


@dataclass(frozen=True)
class IndexedTriples:
    """Names and relations in order of first occurrence, and the triples by id."""

    names: tuple[str, ...]
    relations: tuple[str, ...]
    triples: Integers  #: by number, in the order of the files, [M, 3]


def read_at_once(paths: Sequence[Path]) -> IndexedTriples | None:
    """Read tab-separated triples of several files; None where a line is malformed or needs the line-by-line reader."""
    import pyarrow as pa

    tables = [table for path in paths if (table := _table(path)) is not None]
    if not tables or len(tables) < len(paths):
        return None
    heads, relations, tails = (
        pa.chunked_array(
            [chunk for table in tables for chunk in table[name].chunks], pa.large_string()
        ).combine_chunks()
        for name in _COLUMNS
    )
    rows = np.arange(len(heads))
    # heads and tails interleaved, in the order of first occurrence
    in_turns = pa.array(np.stack([rows, rows + len(rows)], axis=1).ravel())
    met = pa.concat_arrays([heads, tails]).take(in_turns).dictionary_encode()
    called = relations.dictionary_encode()
    names, kinds = tuple(met.dictionary.to_pylist()), tuple(called.dictionary.to_pylist())
    if any(not name or name != name.strip() for name in (*names, *kinds)):
        return None
    triples = np.empty((len(rows), 3), dtype=np.int64)
    triples[:, ::2] = met.indices.to_numpy().reshape(-1, 2)
    triples[:, 1] = called.indices.to_numpy()
    return IndexedTriples(names, kinds, triples)


def _table(path: Path) -> pa.Table | None:
    import pyarrow as pa
    from pyarrow import csv

    try:
        packed = compression(path)
        if packed == "xz":
            return None  # Arrow does not unpack it
        with pa.input_stream(str(path), compression=packed) as file:
            buffer = file.read_buffer()
        characters = np.frombuffer(buffer, dtype=np.uint8)
        # a carriage return ends a line for Arrow wherever it stands, and UTF-16 is full of zeros
        if (characters == ord("\r")).any() or (characters == 0).any():
            return None
        return csv.read_csv(
            pa.BufferReader(buffer),
            read_options=csv.ReadOptions(column_names=_COLUMNS, use_threads=False),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.large_string())),
        )
    except (pa.ArrowException, OSError):
        return None
