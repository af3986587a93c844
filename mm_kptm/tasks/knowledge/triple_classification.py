"""Triple classification: true or false.

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
    """Classify triples as true or false by a threshold per relation (Socher et al. 2013, section 4.2).

    Thresholds maximise accuracy on the dev split and are computed anew for every prediction. A split without false
    triples gets one per true triple, with a corrupted head or tail; always the same ones.

    Args:
        system: as for :class:`~mm_kptm.tasks.knowledge.described_triples.DescribedTask`.
        num_relations: likewise.
        dev: split on which the thresholds are chosen.
    """

    name = "triple-classification"

    def __init__(self, system: System, num_relations: int, dev: Callable[[], DescribedSource]) -> None:
        super().__init__(system, num_relations)
        self.num_relations = num_relations
        self._dev = dev

    @torch.no_grad()
    def predictions(self, source: Source[DescribedTriples], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """A row for every true and every false triple.

        Raises:
            UserError: the source has no described triples.
        """
        triples_source = checked(source)
        training = self.training
        self.eval()
        try:
            thresholds_ = thresholds(*self._scored(self._dev(), batch_size), self.num_relations)
            scores, relations, labels = self._scored(triples_source, batch_size)
        finally:
            self.train(training)
        predicted, gold = (scores > thresholds_[relations]).long().tolist(), labels.long().tolist()
        triples = [*triples_source.graph.triples, *false_ones(triples_source)]
        return [
            prediction(
                example(
                    str(number), triples_source.relations[triple.relation], triples_source.name(triple), ANSWERS[true]
                ),
                ANSWERS[answer],
                score=score,
            )
            for number, (triple, answer, true, score) in enumerate(
                zip(triples, predicted, gold, scores.tolist(), strict=True)
            )
        ]

    def _scored(self, source: DescribedSource, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, relations and labels of all triples of a source, true ones first, each [B]."""
        true, false = source.graph.triples, false_ones(source)
        triples = torch.tensor([*true, *false], dtype=torch.long)
        entities, positions = triples[:, [0, 2]].unique(return_inverse=True)
        vectors = self.vectors(source, entities.tolist(), batch_size)
        table = self.scorer.relation.weight.detach().float().cpu()
        margin = float(self.scorer.margin)
        apart = vectors[positions[:, 0]] + table[triples[:, 1]] - vectors[positions[:, 1]]
        scores = finite_scores(margin - torch.linalg.vector_norm(apart, dim=-1), "triples")
        return scores, triples[:, 1], torch.arange(len(triples)) < len(true)


def false_ones(source: DescribedSource) -> Sequence[IndexedTriple]:
    """False triples of a split, or one corrupted triple per true one that is not known to be true."""
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
    """Threshold of every relation that maximises accuracy, [R].

    It is halfway between two scores; of equally good ones the highest. A relation without triples has the threshold of
    all relations together.

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
    # correct predictions when the first k count as true
    hits = torch.cat([torch.zeros(1, dtype=torch.long), rights.cumsum(0)])
    correct = hits + (1 - rights).sum() - (torch.arange(len(hits)) - hits)
    edges = torch.cat([ordered[:1] + 2, ordered, ordered[-1:] - 2])
    correct[1:-1][ordered[1:] == ordered[:-1]] = -1  # equal scores stay together
    best = int(correct.argmax())
    return float((edges[best] + edges[best + 1]) / 2)
