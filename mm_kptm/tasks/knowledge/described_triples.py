"""Triples with entity descriptions, shared by link prediction and triple classification.

An entity vector is the encoded description (Wang et al. 2021, KEPLER, section 3.2), so that entities unseen in
training have one, too.

Shapes: B triples, N entities, M negatives per side, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph, DescribedTriples, contrast, scores_by
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, RowInputs, prediction
from mm_kptm.tasks.heads import ChosenHead
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source


@dataclass(frozen=True, eq=False)
class DescribedSource:
    """Triples of one split.

    Args:
        graph: triples with the texts of every entity.
        entities: entity names by id, N.
        relations: relation names by id.
        known: true triples, which filter ranks and negatives, [K, 3].
        candidates: entities to rank.
        false: false triples of the split, if it has any.
        negatives: negative heads and negative tails per triple.
    """

    graph: DescribedGraph
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    known: Tensor
    candidates: tuple[int, ...]
    false: tuple[IndexedTriple, ...] = ()
    negatives: int = 1

    def __len__(self) -> int:
        return len(self.graph)

    def length(self, index: int) -> int:
        """Number of tokens of both descriptions."""
        return self.graph.length(index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of the descriptions of every triple."""
        return self.graph.lengths

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> DescribedTriples:
        """Collate triples with sampled negatives."""
        return self.graph.batch(indices, self.negatives, generator)

    @cached_property
    def triples(self) -> Tensor:
        """Triples by id, [B, 3]."""
        return torch.from_numpy(self.graph.triples.rows.astype(np.int64))

    def name(self, triple: Sequence[int]) -> str:
        """Triple as text."""
        head, relation, tail = triple
        return f"{self.entities[head]} {self.relations[relation]} {self.entities[tail]}"


class DescribedTask(Task[DescribedTriples]):
    """Trains a score of true triples against negatives, as KEPLER does beside masked language modelling.

    Args:
        system: its head ``knowledge-embedding`` is the score; without one it gets new relation vectors.
        num_relations: number of relations.

    Raises:
        UserError: the head has fewer relations than the data.
    """

    needs = frozenset({"text"})
    single_inputs = False
    HEADS = ("knowledge-embedding",)

    def __init__(self, system: System, num_relations: int) -> None:
        super().__init__(system)
        self.head = ChosenHead(system, self.HEADS, lambda: TransEScore(system.dim, num_relations))
        have = self.scorer.relation.num_embeddings
        if have < num_relations:
            raise UserError(
                f"the head {self.head.name} of {system.recipe} has vectors of {have} relations, but the triples have "
                f"{num_relations}; build it with num_relations={num_relations}"
            )

    @property
    def scorer(self) -> TransEScore:
        """Score of head, relation and tail vectors."""
        return cast(TransEScore, self.head.of(self.system))

    def loss(self, batch: DescribedTriples) -> Tensor:
        """Mean loss over triples."""
        return contrast(*scores_by(self.scorer, self.system, batch)).mean()

    def inputs_of_row(self, source: Source[DescribedTriples], number: int, row: Row) -> RowInputs:
        """The triple that a line is about, in words."""
        return RowInputs(question=str(row.get("triple", row["group"])))

    @torch.no_grad()
    def measure(self, batch: DescribedTriples) -> dict[str, Tensor]:
        """Whether a triple scores above all its negatives, and the loss; ranks need all entities at once."""
        true, false = (finite_scores(one, "triples") for one in scores_by(self.scorer, self.system, batch))
        return {"leads": (true > false.amax(dim=1)).float(), "loss": contrast(true, false)}

    @torch.no_grad()
    def predict(self, batch: DescribedTriples) -> list[Row]:
        """Whether every triple of the batch scores above its negatives."""
        leads = self.measure(batch)["leads"].tolist()
        return [
            prediction(example(str(place), "triple", str(relation), "true"), "true" if one else "false")
            for place, (relation, one) in enumerate(zip(batch.relations.tolist(), leads, strict=True))
        ]

    @torch.no_grad()
    def vectors(self, source: DescribedSource, numbers: Sequence[int], batch_size: int) -> Tensor:
        """Encoded descriptions of entities, on the CPU, [len(numbers), D]."""
        device = next(self.parameters()).device
        texts = source.graph.entities(numbers).text
        lengths = texts.layout.lengths if texts is not None else ()
        order = sorted(range(len(numbers)), key=lambda place: lengths[place])
        vectors = torch.empty(len(numbers), self.system.dim)
        for first in range(0, len(order), batch_size):
            part = order[first : first + batch_size]
            inputs = source.graph.entities([numbers[place] for place in part]).to(device)
            encoded: Encoded = self.system(inputs, POOLED_ONLY)
            vectors[part] = encoded.pooled.float().cpu()
        return finite_scores(vectors, "vectors of entities")


def example(id_: str, type_: str, group: str, target: str) -> Example:
    """What is known of a question about a triple; descriptions are in no one language."""
    return Example(id_, type_, "und", group, target)


def checked(source: object) -> DescribedSource:
    """Cast a source to described triples.

    Raises:
        UserError: it is another kind of source.
    """
    if not isinstance(source, DescribedSource):
        raise UserError(f"triples are ranked among the entities of a source, but {type(source).__name__} holds none")
    return source


def by_query(triples: Tensor, given: int, sought: int) -> Mapping[tuple[int, int], list[int]]:
    """Known answers at position ``sought`` by relation and the entity at position ``given``."""
    found: dict[tuple[int, int], list[int]] = {}
    for triple in triples.tolist():
        found.setdefault((triple[1], triple[given]), []).append(triple[sought])
    return found
