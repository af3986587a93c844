"""A table of entity vectors by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.batch import Entities, Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.openke import NOTHING, read_entities


@dataclass(frozen=True, eq=False)
class EntityTable:
    """Pretrained entity vectors with their names; looked up, never trained."""

    numbers: Mapping[str, int]  #: row by entity name
    vectors: Tensor  #: [N, E]

    @classmethod
    def open(cls, folder: str | Path) -> EntityTable:
        """Open the released ``entity2id.txt`` and ``entity2vec.vec`` of a folder.

        Raises:
            UserError: a file is missing or a line of it cannot be read, or an entity has no vector.
        """
        numbers, vectors = read_entities(Path(folder))
        return cls(numbers, torch.from_numpy(vectors))

    def number_of(self, name: str | None) -> int:
        """Row of an entity, -1 if it has no vector."""
        return NOTHING if name is None else self.numbers.get(name, NOTHING)

    @property
    def hash(self) -> str:
        """SHA-256 over names, rows and vectors."""
        digest = sha256()
        for name, number in self.numbers.items():
            digest.update(f"{name}\t{number}\n".encode())
        digest.update(self.vectors.contiguous().numpy().data)
        return digest.hexdigest()

    def entities(self, grid: Sequence[Sequence[int]]) -> Entities:
        """Vectors and linked flags of a batch of entity id sequences.

        Raises:
            UserError: an id has no row in the table.
        """
        ids = torch.tensor(list(chain.from_iterable(grid)), dtype=torch.long)
        if len(ids) and int(ids.max()) >= len(self.vectors):
            raise UserError(f"entity number {int(ids.max())} was asked for, but the table has {len(self.vectors)} rows")
        linked = ids >= 0
        vectors = self.vectors.new_zeros(len(ids), self.vectors.shape[1])
        vectors[linked] = self.vectors[ids[linked]]
        return Entities(vectors=vectors, linked=linked, ids=ids)

    def inputs(self, tokens: Sequence[Sequence[int]], grid: Sequence[Sequence[int]]) -> Inputs:
        """Model inputs: token sequences with one entity id per token.

        Raises:
            UserError: a sequence has more or fewer entity ids than tokens.
        """
        for number, (ids, entities) in enumerate(zip(tokens, grid, strict=True)):
            if len(ids) != len(entities):
                raise UserError(f"sequence {number} has {len(ids)} tokens but {len(entities)} entity numbers")
        return Inputs(text=Tokens.of(tokens), entities=self.entities(grid))
