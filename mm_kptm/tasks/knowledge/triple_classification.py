"""Triple classification: is a triple true?

Shapes: B triples, true and false ones, R relations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.negatives import FilteredNegatives
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedTriples
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row, prediction
from mm_kptm.tasks.knowledge.described_triples import DescribedSource, DescribedTask, checked, example
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source

ANSWERS = ("false", "true")


class TripleClassification(DescribedTask):
    """Tell whether a triple is true by a threshold of its relation (Socher et al. 2013, section 4.2).

    Thresholds are those that tell most of the dev split rightly, found anew whenever answers are asked for. A split
    that names no false triples gets one for each true one, its head or its tail replaced; the same ones every time.

    Args:
        system: as for :class:`~mm_kptm.tasks.knowledge.described_triples.DescribedTask`.
        num_relations: likewise.
        dev: the split that thresholds are chosen on.
    """

    name = "triple-classification"

    def __init__(self, system: System, num_relations: int, dev: Callable[[], DescribedSource]) -> None:
        super().__init__(system, num_relations)
        self.num_relations = num_relations
        self._dev = dev

    @torch.no_grad()
    def predictions(self, source: Source[DescribedTriples], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """A row of every true and of every false triple.

        Raises:
            UserError: the source is none of described triples.
        """
        asked = checked(source)
        training = self.training
        self.eval()
        try:
            bounds = thresholds(*self._scored(self._dev(), batch_size), self.num_relations)
            scores, relations, truth = self._scored(asked, batch_size)
        finally:
            self.train(training)
        predicted, gold = (scores > bounds[relations]).long().tolist(), truth.long().tolist()
        triples = [*asked.graph.triples, *false_ones(asked)]
        return [
            prediction(
                example(str(number), asked.relations[triple.relation], asked.name(triple), ANSWERS[true]),
                ANSWERS[answer],
                score=score,
            )
            for number, (triple, answer, true, score) in enumerate(
                zip(triples, predicted, gold, scores.tolist(), strict=True)
            )
        ]

    def _scored(self, source: DescribedSource, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, relations and truth of all triples of a source, the true ones first, each [B]."""
        true, false = source.graph.triples, false_ones(source)
        triples = torch.tensor([*true, *false], dtype=torch.long)
        entities, places = triples[:, [0, 2]].unique(return_inverse=True)
        vectors = self.vectors(source, entities.tolist(), batch_size)
        table = self.scorer.relation.weight.detach().float().cpu()
        margin = float(self.scorer.margin)
        apart = vectors[places[:, 0]] + table[triples[:, 1]] - vectors[places[:, 1]]
        scores = finite_scores(margin - torch.linalg.vector_norm(apart, dim=-1), "triples")
        return scores, triples[:, 1], torch.arange(len(triples)) < len(true)


def false_ones(source: DescribedSource) -> Sequence[IndexedTriple]:
    """The false triples that a split names, or one for each true one that nothing known contradicts."""
    if source.false:
        return source.false
    negatives = FilteredNegatives(
        [*source.graph.triples, *map(IndexedTriple._make, source.known.tolist())], len(source.entities)
    )
    generator = seeded(0, len(source))

    def draw(count: int) -> list[int]:
        return torch.randint(len(source.entities), (count,), generator=generator).tolist()

    found = []
    for triple in source.graph.triples:
        wrong = negatives(triple, 1, draw)
        (head,), (tail,) = wrong.false_heads, wrong.false_tails
        side = int(torch.randint(2, (1,), generator=generator))
        found.append(triple._replace(head=head) if side else triple._replace(tail=tail))
    return found


def thresholds(scores: Tensor, relations: Tensor, truth: Tensor, num_relations: int) -> Tensor:
    """The bound of every relation above which most triples are told rightly, [R].

    It lies halfway between two scores; of equally good ones the highest counts. A relation without triples has the
    bound of all of them together.

    Raises:
        UserError: there are no triples.

    >>> thresholds(torch.tensor([3.0, 1.0, 0.0]), torch.zeros(3).long(), torch.tensor([True, True, False]), 2)
    tensor([0.5000, 0.5000])
    """
    if not len(scores):
        raise UserError("thresholds are chosen on the dev split, but it has no triples")
    bounds = torch.full((num_relations,), _bound(scores, truth))
    for relation in relations.unique().tolist():
        chosen = relations == relation
        bounds[relation] = _bound(scores[chosen], truth[chosen])
    return bounds


def _bound(scores: Tensor, truth: Tensor) -> float:
    ordered, order = scores.sort(descending=True)
    rights = truth[order].long()
    # so many are told rightly when the first k count as true
    hits = torch.cat([torch.zeros(1, dtype=torch.long), rights.cumsum(0)])
    told = hits + (1 - rights).sum() - (torch.arange(len(hits)) - hits)
    edges = torch.cat([ordered[:1] + 2, ordered, ordered[-1:] - 2])
    told[1:-1][ordered[1:] == ordered[:-1]] = -1  # equal scores stay together
    best = int(told.argmax())
    return float((edges[best] + edges[best + 1]) / 2)
