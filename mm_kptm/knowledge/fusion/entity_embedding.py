"""Trainable entity vectors beside an encoder.

Shapes: N entities, T tokens of the batch, E entity dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Entities, Inputs, OutputRows
from mm_kptm.batch.rows import copied, on_host
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.systems.encoder import HiddenState, LayeredEncoder


class EntityVectors(nn.Module):
    """Table of entity vectors, looked up by entity id.

    Args:
        vectors: initial values, [N, E].
        trainable: whether they are trained.
    """

    def __init__(self, vectors: Tensor, *, trainable: bool = True) -> None:
        super().__init__()
        # no nn.Embedding: initialisation would overwrite it, and these vectors are not random
        self.vectors = nn.Parameter(vectors.detach().clone().float(), requires_grad=trainable)

    def forward(self, entities: Entities) -> Entities:
        """The same entities with vectors from the table, zero where nothing is linked.

        Raises:
            UserError: they have no ids, or an id is out of range.
        """
        if entities.ids is None:
            raise UserError("vectors of entities were to be looked up, but the entities of the batch have no numbers")
        linked = on_host(entities.linked).bool()
        ids, rows = on_host(entities.ids)[linked], linked.nonzero().squeeze(1)
        if len(ids) and int(ids.max()) >= len(self.vectors):
            raise UserError(f"entity number {int(ids.max())} was asked for, but the table has {len(self.vectors)} rows")
        found = self.vectors.new_zeros(len(linked), self.vectors.shape[1])
        return replace(
            entities, vectors=found.index_put((copied(rows, found.device),), self.vectors[copied(ids, found.device)])
        )


class WithVectors(nn.Module):
    """Encoder with its own entity table: the vectors of the inputs are replaced by those of the table."""

    def __init__(self, encoder: nn.Module, vectors: EntityVectors) -> None:
        super().__init__()
        self.encoder = encoder
        self.entity_vectors = vectors

    @property
    def dim(self) -> int:
        """Width of the encoder's hidden states."""
        return cast(int, self.encoder.dim)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """Encode the inputs with vectors from the table."""
        encoded: Encoded = self.encoder(self._looked_up(inputs), output_rows)
        return encoded

    def hidden_states(self, inputs: Inputs) -> Iterator[HiddenState]:
        """Hidden states of the encoder at every depth."""
        return cast(LayeredEncoder, self.encoder).hidden_states(self._looked_up(inputs))

    def _looked_up(self, inputs: Inputs) -> Inputs:
        if inputs.entities is None:
            return inputs
        return inputs.with_streams(entities=self.entity_vectors(inputs.entities))


def with_facts(table: EntityTable, facts: str, *, seed: int = 0) -> EntityTable:
    """Ablation of an entity table: true vectors, permuted vectors, or no entities.

    Args:
        table: the true vectors.
        facts: true, random (every entity has another entity's vector) or none.
        seed: seed of the permutation.

    Raises:
        UserError: there is no such ablation.
    """
    if facts == "true":
        return table
    if facts == "none":
        return EntityTable({}, table.vectors)
    if facts != "random":
        raise UserError(
            f"knowledge.facts is {facts}, but entity vectors from files can be injected as true, random or none"
        )
    order = torch.randperm(len(table.vectors), generator=torch.Generator().manual_seed(seed))
    others = torch.empty_like(table.vectors)
    others[order] = table.vectors[order.roll(1)]  # one circle through all of them, so that none keeps its own
    return EntityTable(table.numbers, others)
