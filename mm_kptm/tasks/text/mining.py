"""Mining of translations out of two corpora that are not aligned.

Shapes: B sentences of a batch, N and M sentences of the corpora, D dim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.alignment.margin_mining import Margin, mine
from mm_kptm.data.sampler import in_order, seeded
from mm_kptm.errors import UserError
from mm_kptm.models.sentence_embedding import Vectors, first_state
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row
from mm_kptm.tasks.metrics.mined_pairs import MinedPair, best_threshold, extracted, pair_scores
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source

FIRST, SECOND = "first", "second"  #: types of the sentences of the two corpora


@dataclass(frozen=True)
class Corpora:
    """What is known of two corpora."""

    gold: frozenset[tuple[str, str]] | None = None  #: pairs of ids that are translations; None where they are unknown
    repeated: frozenset[str] = frozenset()  #: ids of texts that occur more than once, which the evaluation leaves out


@dataclass(frozen=True, eq=False)
class SentenceBatch(ExampleBatch):
    """A batch of sentences."""

    inputs: Inputs
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class CorpusSource:
    """Distinct sentences of corpora to be mined: ``language`` names a pair of corpora, ``type`` which of the two.

    Args:
        shown: the sentences.
        about: metadata of each sentence; the target is the id of its translation.
        corpora: gold pairs of each pair of corpora.
    """

    shown: InputSource
    about: tuple[Example, ...]
    corpora: Mapping[str, Corpora]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of a sentence."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> SentenceBatch:
        """The sentences of the given indices."""
        return SentenceBatch(self.shown.batch(indices, generator), tuple(self.about[index] for index in indices))


class BitextMining(Task[SentenceBatch]):
    """Mining of translation pairs by margins of their similarity (Zweigenbaum et al. 2018; Artetxe and Schwenk 2019).

    Works without training: a threshold per pair of languages, chosen for F1 on development data, is all that is learnt.
    Every sentence is in one pair at most; sentences below the threshold are in none.

    Args:
        system: reads text.
        vectors: computes sentence vectors; the first state in XTREME.
        margin: ``ratio``, ``distance`` (as CSLS ranks) or ``absolute``.
        neighbours: on each side.
        development: corpora on which thresholds are chosen for others; each takes its own best one without them.
    """

    name = "bitext-mining"
    needs = frozenset({"text"})

    def __init__(
        self,
        system: System,
        *,
        vectors: Vectors = first_state,
        margin: Margin = "ratio",
        neighbours: int = 4,
        development: Callable[[], CorpusSource] | None = None,
    ) -> None:
        super().__init__(system)
        self.vectors = vectors
        self.margin = margin
        self.neighbours = neighbours
        self.development = development

    def forward(self, inputs: Inputs) -> Tensor:
        """One vector per sentence, [B, D]."""
        return self.vectors(self.system, inputs)

    def loss(self, batch: SentenceBatch) -> Tensor:
        """Refused: sentences that are not aligned teach nothing.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.name} is not learnt, because its sentences are not aligned; set train.steps to 0, or train "
            "parallel-sentences on translations first"
        )

    @torch.no_grad()
    def measure(self, batch: SentenceBatch) -> dict[str, Tensor]:
        """The norm of every sentence's vector; scores need the whole corpora: :meth:`predictions`."""
        return {"norm": finite_scores(self(batch.inputs), "sentence vectors").norm(dim=1)}

    @torch.no_grad()
    def predict(self, batch: SentenceBatch) -> list[Row]:
        """The pair that each sentence is in, by the sentences of the batch alone."""
        vectors = finite_scores(self(batch.inputs), "sentence vectors")
        return self._rows(batch.about, vectors, {}, {})

    @torch.no_grad()
    def predictions(self, source: Source[SentenceBatch], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """A row for every sentence: the answer is the id of what it is paired with, empty if it is in no pair."""
        thresholds: dict[str, float] = {}
        if self.development is not None and (development := self.development()) is not source:
            about, vectors = self._encoded(development, batch_size, seed)
            for row in self._rows(about, vectors, development.corpora, {}):
                thresholds[str(row["language"])] = float(row["threshold"])
        about, vectors = self._encoded(source, batch_size, seed)
        corpora = source.corpora if isinstance(source, CorpusSource) else {}
        return self._rows(about, vectors, corpora, thresholds)

    def _encoded(self, source: Source[SentenceBatch], batch_size: int, seed: int) -> tuple[tuple[Example, ...], Tensor]:
        """All sentences of a source, and their vectors [N, D]."""
        device = next(self.parameters()).device
        found: dict[int, tuple[Example, Tensor]] = {}
        training = self.training
        self.eval()
        try:
            lengths = [source.length(index) for index in range(len(source))]
            for number, indices in enumerate(in_order(lengths, batch_size)):
                batch = source.batch(indices, seeded(seed, number)).to(device)
                vectors = finite_scores(self(batch.inputs), "sentence vectors")
                found |= zip(indices, zip(batch.about, vectors, strict=True), strict=True)
        finally:
            self.train(training)
        ordered = [found[index] for index in range(len(source))]
        return tuple(about for about, _ in ordered), torch.stack([vector for _, vector in ordered])

    def _rows(
        self,
        about: Sequence[Example],
        vectors: Tensor,
        corpora: Mapping[str, Corpora],
        thresholds: Mapping[str, float],
    ) -> list[Row]:
        sides: defaultdict[str, dict[str, list[int]]] = defaultdict(lambda: {FIRST: [], SECOND: []})
        for place, one in enumerate(about):
            sides[one.language][one.type].append(place)
        rows: dict[int, Row] = {}
        for name, places in sides.items():
            known = corpora.get(name, Corpora())
            candidates = self._candidates(about, vectors, places[FIRST], places[SECOND], known)
            best = 0.0 if known.gold is None else best_threshold(candidates, known.gold)
            threshold = thresholds.get(name, best)
            scores = {(pair.source, pair.target): pair.score for pair in candidates}
            pairs = extracted(candidates, threshold)
            partner = dict(pairs) | {other: one for one, other in pairs}
            for place in (*places[FIRST], *places[SECOND]):
                one = about[place]
                other = partner.get(one.id, "")
                score = scores.get((one.id, other) if one.type == FIRST else (other, one.id), 0.0)
                rows[place] = self._row(one, other, score, threshold, known)
        return [rows[place] for place in range(len(about))]

    def _candidates(
        self, about: Sequence[Example], vectors: Tensor, first: list[int], second: list[int], known: Corpora
    ) -> list[MinedPair]:
        """Mined pairs of two corpora by falling score, without texts that occur more than once."""
        if not first or not second:
            return []
        mined = mine(vectors[first], vectors[second], k=self.neighbours, margin=self.margin)
        found = [
            MinedPair(about[first[one]].id, about[second[other]].id, score)
            for (one, other), score in zip(mined.pairs.tolist(), mined.scores.tolist(), strict=True)
        ]
        return [pair for pair in found if not {pair.source, pair.target} & known.repeated]

    @staticmethod
    def _row(one: Example, other: str, score: float, threshold: float, known: Corpora) -> Row:
        row: dict[str, str | float] = {
            "id": one.id,
            "type": one.type,
            "language": one.language,
            "group": one.group,
            "answer": other,
            "score": score,
            "threshold": threshold,
        }
        judged: dict[str, str | float] = {"target": one.target, "correct": float(other == one.target)}
        return row if known.gold is None else {**row, **judged}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Precision, recall and F1 of the pairs of each two corpora, and the mean F1, as fractions."""
        by_pair: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row["type"] == FIRST:
                by_pair[str(row["language"])].append(row)
        found: dict[str, float] = {}
        for corpora, some in sorted(by_pair.items()):
            given = [(str(row["id"]), str(row["answer"])) for row in some if row["answer"]]
            gold = {(str(row["id"]), str(row["target"])) for row in some if row["target"]}
            scores = pair_scores(given, gold) if gold else {"precision": 0.0, "recall": 0.0, "f1": 0.0}
            found |= {f"{name}-{corpora}": value / 100 for name, value in scores.items()}
        f1 = [value for name, value in found.items() if name.startswith("f1-")]
        return {**found, "f1": sum(f1) / len(f1)}
