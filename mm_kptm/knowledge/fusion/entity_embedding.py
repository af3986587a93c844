"""Vectors of entities that learn along with the encoder that reads them.

Shapes: N entities, T tokens of the batch, E entity dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Entities, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.systems.encoder import HiddenState, LayeredEncoder


class EntityVectors(nn.Module):
    """A table of vectors, looked up by the numbers of entities.

    Args:
        vectors: to begin with, [N, E].
        trainable: whether they learn.
    """

    def __init__(self, vectors: Tensor, *, trainable: bool = True) -> None:
        super().__init__()
        # no nn.Embedding: fresh weights are drawn anew by their kind, and these are not fresh
        self.vectors = nn.Parameter(vectors.detach().clone().float(), requires_grad=trainable)

    def forward(self, entities: Entities) -> Entities:
        """The same entities with their vectors in the table, zero where nothing is linked.

        Raises:
            UserError: they have no numbers, or one that is not in the table.
        """
        if entities.ids is None:
            raise UserError("vectors of entities were to be looked up, but the entities of the batch have no numbers")
        linked = entities.linked.bool()
        ids = entities.ids[linked]
        if len(ids) and int(ids.max()) >= len(self.vectors):
            raise UserError(f"entity number {int(ids.max())} was asked for, but the table has {len(self.vectors)} rows")
        found = self.vectors.new_zeros(len(linked), self.vectors.shape[1])
        return replace(entities, vectors=found.index_put((linked.nonzero().squeeze(1),), self.vectors[ids]))


class WithVectors(nn.Module):
    """An encoder that reads entities, with the table of their vectors: what the inputs bring is looked up anew."""

    def __init__(self, encoder: nn.Module, vectors: EntityVectors) -> None:
        super().__init__()
        self.encoder = encoder
        self.entity_vectors = vectors

    @property
    def dim(self) -> int:
        """Width of the encoder's states."""
        return cast(int, self.encoder.dim)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """As the encoder."""
        encoded: Encoded = self.encoder(self._looked_up(inputs), output_rows)
        return encoded

    def hidden_states(self, inputs: Inputs) -> Iterator[HiddenState]:
        """As the encoder."""
        return cast(LayeredEncoder, self.encoder).hidden_states(self._looked_up(inputs))

    def _looked_up(self, inputs: Inputs) -> Inputs:
        if inputs.entities is None:
            return inputs
        return inputs.with_streams(entities=self.entity_vectors(inputs.entities))


def told(table: EntityTable, facts: str, *, seed: int = 0) -> EntityTable:
    """A table for an arm of an experiment: the true vectors, those of other entities, or no entity at all.

    Args:
        table: the true one.
        facts: true, random (every entity has the vector of another one) or none.
        seed: of random ones.

    Raises:
        UserError: there is no such arm.
    """
    if facts == "true":
        return table
    if facts == "none":
        return EntityTable({}, table.vectors)
    if facts != "random":
        raise UserError(
            f"knowledge.facts is {facts}, but vectors of entities that lie in files can be told as true, random or none"
        )
    order = torch.randperm(len(table.vectors), generator=torch.Generator().manual_seed(seed))
    others = torch.empty_like(table.vectors)
    others[order] = table.vectors[order.roll(1)]  # one circle through all of them, so that none keeps its own
    return EntityTable(table.numbers, others)
