"""Pretrained embeddings in published formats (ERNIE and OpenKE text files, KEPLER arrays) or in a folder of our own.

Names and ids are in ``entity2id.txt`` (a name, a tab, an id) or ``entity2id.json`` (ids by name), vectors in
``entity2vec.vec`` or ``EntityEmb.npy``; relations likewise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.records import read_json
from mm_kptm.knowledge.embedding.embeddings import INDEX, VECTORS, Embeddings, load_embeddings
from mm_kptm.knowledge.embedding.scoring import score_of
from mm_kptm.knowledge.graph.openke import read_entity_ids, read_vectors
from mm_kptm.systems.checkpoint_files import read_weights

ARRAYS = {"entity": "EntityEmb.npy", "relation": "RelEmb.npy"}  #: as the released script of KEPLER names them
_ENDINGS = (".vec", ".bern", ".unif", ".txt", ".npy")


def open_embeddings(folder: str | Path, *, model: str = "", norm: int | None = None) -> Embeddings:
    """Open the embeddings of a folder with their names; a row without a name is left out.

    Args:
        folder: one that :func:`~mm_kptm.knowledge.embedding.embeddings.save_embeddings` wrote, or published files.
        model: scoring function of the vectors, where the folder does not name it.
        norm: norm of TransE's distance: ERNIE's is 1, KEPLER's 2.

    Raises:
        UserError: a file is missing or cannot be read, or an id has no vector.
    """
    folder = Path(folder)
    if (folder / VECTORS).exists() or (folder / INDEX).exists():
        ours = load_embeddings(folder)
        return ours if not model else replace(ours, model=score_name(model))
    entities = _table(folder, "entity")
    if entities is None:
        raise UserError(
            f"{folder} holds no vectors of entities; {VECTORS}, entity2vec.vec and {ARRAYS['entity']} were looked for"
        )
    relations = _table(folder, "relation")
    names, vectors = entities
    ways, steps = relations if relations is not None else ((), None)
    settings = {} if norm is None else {"norm": norm}
    return Embeddings(names, vectors, ways, steps, model=score_name(model), settings=settings)


def score_name(model: str) -> str:
    """Canonical name of a score, empty for an empty name; ``UserError`` if there is no such score."""
    return score_of(model).__name__.lower() if model else ""


def _table(folder: Path, kind: str) -> tuple[tuple[str, ...], Tensor] | None:
    """Names in the order of their ids, with their vectors; None where there are no vectors."""
    files = [*(folder / f"{kind}2vec{ending}" for ending in _ENDINGS), folder / ARRAYS[kind]]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    numbers = _numbers(folder, kind)
    vectors = next(iter(read_weights(file).values())) if file.suffix == ".npy" else torch.from_numpy(read_vectors(file))
    for name, number in numbers.items():
        if number >= len(vectors):
            raise UserError(
                f"{folder} gives {name} the number {number}, but {file.name} has {len(vectors)} vectors; numbers count "
                "from 0"
            )
    order = sorted(numbers, key=lambda name: (numbers[name], name))
    if list(numbers.values()) != list(range(len(vectors))):
        vectors = vectors[torch.tensor([numbers[name] for name in order], dtype=torch.long)]
    return tuple(order), vectors.float()


def _numbers(folder: Path, kind: str) -> dict[str, int]:
    text, table = folder / f"{kind}2id.txt", folder / f"{kind}2id.json"
    if text.is_file() or not table.is_file():
        return read_entity_ids(text)
    listed = read_json(table)
    numbers = {} if not isinstance(listed, dict) else {k: n for k, n in listed.items() if type(n) is int and n >= 0}
    if not isinstance(listed, dict) or len(numbers) < len(listed):
        raise UserError(f"{table} should hold a number from 0 on for every name")
    return numbers
