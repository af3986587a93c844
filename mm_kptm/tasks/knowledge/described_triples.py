"""Triples whose entities are read as their descriptions: what link prediction and triple classification share.

The vector of an entity is what the encoder makes of its text (Wang et al. 2021, KEPLER, section 3.2), so entities that
training never saw have one, too.

Shapes: B triples, N entities, M false entities of a side, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph, DescribedTriples, contrast, scores_by
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, prediction
from mm_kptm.tasks.heads import ChosenHead
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores


@dataclass(frozen=True, eq=False)
class DescribedSource:
    """The triples of one split.

    Args:
        graph: the triples and the texts of every entity.
        entities: names by number, N.
        relations: names by number.
        known: the triples that are true, which filter ranks and are drawn as no false ones, [K, 3].
        candidates: the entities that answers are sought among.
        false: what the split says is not true, if it says so.
        negatives: false heads and as many false tails that are drawn for a triple.
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
        """Tokens of both descriptions."""
        return self.graph.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> DescribedTriples:
        """The given triples, each with false ones that are drawn."""
        return self.graph.batch(indices, self.negatives, generator)

    @cached_property
    def triples(self) -> Tensor:
        """By number, [B, 3]."""
        return torch.tensor(self.graph.triples, dtype=torch.long)

    def name(self, triple: Sequence[int]) -> str:
        """A triple in words."""
        head, relation, tail = triple
        return f"{self.entities[head]} {self.relations[relation]} {self.entities[tail]}"


class DescribedTask(Task[DescribedTriples]):
    """Learns to tell true triples from false ones, as KEPLER does beside its masked tokens.

    Args:
        system: its head ``knowledge-embedding`` scores; a system without it gets fresh vectors of relations.
        num_relations: that there are.

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
        """Scores vectors of heads, relations and tails."""
        return cast(TransEScore, self.head.of(self.system))

    def loss(self, batch: DescribedTriples) -> Tensor:
        """The mean over triples."""
        return contrast(*scores_by(self.scorer, self.system, batch)).mean()

    @torch.no_grad()
    def measure(self, batch: DescribedTriples) -> dict[str, Tensor]:
        """Whether a triple leads all its false ones, and the loss; ranks need all entities at once."""
        true, false = (finite_scores(one, "triples") for one in scores_by(self.scorer, self.system, batch))
        return {"leads": (true > false.amax(dim=1)).float(), "loss": contrast(true, false)}

    @torch.no_grad()
    def predict(self, batch: DescribedTriples) -> list[Row]:
        """Whether every triple of the batch leads its false ones."""
        leads = self.measure(batch)["leads"].tolist()
        return [
            prediction(example(str(place), "triple", str(relation), "true"), "true" if one else "false")
            for place, (relation, one) in enumerate(zip(batch.relations.tolist(), leads, strict=True))
        ]

    @torch.no_grad()
    def vectors(self, source: DescribedSource, numbers: Sequence[int], batch_size: int) -> Tensor:
        """What the encoder makes of the descriptions of some entities, on the CPU, [len(numbers), D]."""
        device = next(self.parameters()).device
        texts = source.graph.entities(numbers).text
        lengths = texts.layout.lengths if texts is not None else ()
        order = sorted(range(len(numbers)), key=lambda place: lengths[place])
        found = torch.empty(len(numbers), self.system.dim)
        for first in range(0, len(order), batch_size):
            part = order[first : first + batch_size]
            inputs = source.graph.entities([numbers[place] for place in part]).to(device)
            encoded: Encoded = self.system(inputs, POOLED_ONLY)
            found[part] = encoded.pooled.float().cpu()
        return finite_scores(found, "vectors of entities")


def example(id_: str, type_: str, group: str, target: str) -> Example:
    """What is known of a question about a triple; descriptions are in no one language."""
    return Example(id_, type_, "und", group, target)


def checked(source: object) -> DescribedSource:
    """The source as one of described triples.

    Raises:
        UserError: it is none.
    """
    if not isinstance(source, DescribedSource):
        raise UserError(f"triples are ranked among the entities of a source, but {type(source).__name__} holds none")
    return source


def by_query(triples: Tensor, given: int, sought: int) -> Mapping[tuple[int, int], list[int]]:
    """What is known to be true at the place ``sought``, by relation and the entity at the place ``given``."""
    found: dict[tuple[int, int], list[int]] = {}
    for triple in triples.tolist():
        found.setdefault((triple[1], triple[given]), []).append(triple[sought])
    return found
