"""Link prediction: rank all entities as the head or tail of a triple.

Shapes: B triples, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mm_kptm.knowledge.embedding.ranking import HITS, Ranks, measures, rank
from mm_kptm.knowledge.embedding.scoring import TransE
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedTriples
from mm_kptm.tasks.example import Row, prediction
from mm_kptm.tasks.knowledge.described_triples import DescribedSource, DescribedTask, by_query, checked, example
from mm_kptm.train.protocol import Source

SIDES = ("head", "tail")
METRICS = ("mrr", *(f"hits@{k}" for k in HITS))


class LinkPrediction(DescribedTask):
    """Predict the tail of (head, relation) and the head of (relation, tail) (Bordes et al. 2013, section 4.1).

    Ranks are filtered and realistic (ties get the mean rank), and both sides have equal weight; see
    :mod:`mm_kptm.knowledge.embedding.ranking`.
    """

    name = "link-prediction"

    @torch.no_grad()
    def predictions(self, source: Source[DescribedTriples], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """Two rows per triple, one for its head and one for its tail, each with its filtered ``rank``.

        Raises:
            UserError: the source has no described triples.
        """
        triples = checked(source)
        training = self.training
        self.eval()
        try:
            return list(self._ranked(triples, batch_size))
        finally:
            self.train(training)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Mean reciprocal rank and hits at 1, 3, 5 and 10, of both sides together and of each."""
        metrics: dict[str, float] = {}
        for side in ("both", *SIDES):
            of_side = [float(one["rank"]) for one in rows if side in ("both", str(one["type"]))]
            if of_side:
                ranks = torch.tensor(of_side)
                values = measures(Ranks(ranks, ranks, torch.ones_like(ranks)))
                metrics |= {name if side == "both" else f"{side}-{name}": values[name] for name in METRICS}
        return metrics

    def _ranked(self, source: DescribedSource, batch_size: int) -> Iterator[Row]:
        positions = {entity: place for place, entity in enumerate(source.candidates)}
        relations = self.scorer.relation.weight.detach().float().cpu()
        scorer = TransE(self.vectors(source, source.candidates, batch_size), relations, norm=2)
        triples, known = (_among(part, positions) for part in (source.triples, source.known))
        both = rank(scorer, triples, known)
        best = (
            _best(lambda triple: scorer.heads(triple[1:2], triple[2:])[0], triples, known, sought=0),
            _best(lambda triple: scorer.tails(triple[:1], triple[1:2])[0], triples, known, sought=2),
        )
        ranks = (both.heads.realistic.tolist(), both.tails.realistic.tolist())
        for number, triple in enumerate(source.graph.triples):
            for side, name, true in zip((0, 1), SIDES, (triple.head, triple.tail), strict=True):
                answer = source.entities[source.candidates[best[side][number]]]
                about = example(f"{number}-{name}", name, source.relations[triple.relation], source.entities[true])
                rank_ = ranks[side][number]
                found = prediction(about, answer, correct=float(rank_ == 1))
                yield {**found, "triple": source.name(triple), "rank": rank_}


def _among(triples: Tensor, places: dict[int, int]) -> Tensor:
    """Triples whose entities are candidates, by their positions."""
    rows = [(places[h], r, places[t]) for h, r, t in triples.tolist() if h in places and t in places]
    return torch.tensor(rows, dtype=torch.long).view(-1, 3)


def _best(score: Callable[[Tensor], Tensor], triples: Tensor, known: Tensor, *, sought: int) -> list[int]:
    """Best-scoring candidate of every triple, other known answers filtered out."""
    true = by_query(known, 2 - sought, sought)
    found = []
    for triple in triples:
        scores = score(triple)
        others = [e for e in true.get((int(triple[1]), int(triple[2 - sought])), []) if e != int(triple[sought])]
        scores[others] = -torch.inf
        found.append(int(scores.argmax()))
    return found
