"""Described graphs larger than memory: tokenized descriptions and numbered triples on disk, mapped by all processes.

A store is a folder with ``descriptions``, a token store with a sequence an entity, and ``triples``. That holds
``triples.npy``, head, relation and tail as numbers, [M, 3], and ``store.json``. Names are looked up by Arrow while it
is built, and kept nowhere; relations are numbered in the order of their first triple.

Shapes: M triples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import INDEX, Tokenized, batched, once, stored
from mm_kptm.data.tokenizers.batch import IDS, encode_batch
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io.arrays import read_array
from mm_kptm.io.atomic import atomic_folder, write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.knowledge.graph.indexed_triple import TripleRows
from mm_kptm.knowledge.graph.triples import read_triples
from mm_kptm.knowledge.graph.wikidata5m import description_lines, read_descriptions

TRIPLES = "triples.npy"
BLOCK = 1 << 18  #: triples whose names are looked up at once
_KIND = np.dtype(np.int32)


@dataclass(frozen=True, eq=False)
class StoredGraph:
    """Descriptions and triples of a store."""

    texts: Packed  #: ids of every entity's description, in the order of the file
    triples: TripleRows
    left_out: int  #: triples about an entity without a description


def stored_graph(
    folder: Path, triples: Path, descriptions: Path, tokenizer: Tokenizer, *, source: Mapping[str, object]
) -> StoredGraph:
    """Open the store of a folder; it is built first if it is not there.

    Args:
        folder: of the store.
        triples: head, relation and tail a line, between tabs.
        descriptions: a name, a tab and a text a line.
        tokenizer: of the descriptions.
        source: digests of the files and the tokenizer, and settings.

    Raises:
        UserError: the store is of other files, or a line is malformed; the message names it.
    """
    texts = stored(
        folder / "descriptions",
        partial(description_lines, descriptions),
        partial(_tokenized, tokenizer),
        source=source,
    )
    numbered = folder / "triples"
    once(numbered, _number, numbered, triples, descriptions, dict(source))
    record = Record.of(read_json(numbered / INDEX), str(numbered / INDEX))
    if record.get("source", dict) != dict(source):
        raise UserError(
            f"{numbered} was built from other files; remove it, and it is built anew, or name another folder"
        )
    rows = read_array(numbered / TRIPLES, mmap=True)
    if rows.shape != (record.count("triples"), 3):
        raise UserError(f"{numbered / TRIPLES} does not hold what {INDEX} says; remove {numbered}")
    return StoredGraph(texts.rows, TripleRows(rows), record.count("left_out"))


def _tokenized(tokenizer: Tokenizer, items: Sequence[tuple[str, str]]) -> Tokenized:
    found = encode_batch(tokenizer, [text for _, text in items])
    return Tokenized(Packed(found.offsets, {IDS: found.columns[IDS]}))


def _number(folder: Path, triples: Path, descriptions: Path, source: Mapping[str, object]) -> None:
    """Write the numbers of the triples between described entities."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.chunked_array([pa.array(some) for some in batched(_names(descriptions), BLOCK)], pa.string())
    names = names.combine_chunks()
    if len(pc.unique(names)) < len(names):
        read_descriptions(descriptions)  # names the line
    relations: dict[str, int] = {}
    kept = left_out = 0
    with atomic_folder(folder) as draft:
        with (draft / TRIPLES).open("wb") as file:
            _write_header(file, 0)
            for block in batched(read_triples(triples), BLOCK):
                heads, tails = (
                    pc.index_in(pa.array([triple[side] for triple in block]), value_set=names).fill_null(-1).to_numpy()
                    for side in (0, 2)
                )
                known = np.flatnonzero((heads >= 0) & (tails >= 0))
                called = (relations.setdefault(block[place].relation, len(relations)) for place in known.tolist())
                rows = np.empty((len(known), 3), _KIND)
                rows[:, 0], rows[:, 2] = heads[known], tails[known]
                rows[:, 1] = np.fromiter(called, _KIND, len(known))
                rows.tofile(file)
                kept, left_out = kept + len(known), left_out + len(block) - len(known)
            file.seek(0)
            _write_header(file, kept)
        index = {"triples": kept, "left_out": left_out, "relations": list(relations), "source": dict(source)}
        write_json(draft / INDEX, index, indent=1)


def _names(descriptions: Path) -> Iterator[str]:
    return (name for name, _ in description_lines(descriptions))


def _write_header(file: IO[bytes], triples: int) -> None:
    """The header of the array; numpy pads it so that its length does not depend on the number of triples."""
    header = {"descr": npy.dtype_to_descr(_KIND), "fortran_order": False, "shape": (triples, 3)}
    npy.write_array_header_1_0(file, header)
