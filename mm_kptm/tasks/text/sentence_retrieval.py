"""Parallel-sentence retrieval.

Shapes: B pairs of a batch, N pairs to search, D dim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import Inputs, Movable
from mm_kptm.crosslingual.alignment.margin_mining import margin_nearest, nearest
from mm_kptm.data.packing import Packed
from mm_kptm.data.sampler import in_order, seeded
from mm_kptm.models.sentence_embedding import MeanAtDepth, Vectors, mean_state
from mm_kptm.objectives.contrast import in_batch_contrast
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, RowInputs, prediction
from mm_kptm.tasks.metrics.similarity import Likeness, centred, cosine, margin
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source

EQUAL = 1e-12  #: difference of distances that are the same
SIMILARITIES: Mapping[str, Likeness] = {"cosine": cosine, "centred": centred, "margin": margin}


@dataclass(frozen=True)
class Meaning:
    """Metadata of a pair of translations."""

    id: str
    type: str
    languages: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Translations(Movable):
    """A batch of sentence pairs."""

    left: Inputs
    right: Inputs
    meanings: tuple[Meaning, ...]

    def __len__(self) -> int:
        return len(self.meanings)


@dataclass(frozen=True, eq=False)
class TranslationSource:
    """Sentence pairs; ``left`` and ``right`` are the texts of the two sides."""

    left: Packed
    right: Packed
    meanings: tuple[Meaning, ...]

    def __len__(self) -> int:
        return len(self.meanings)

    def length(self, index: int) -> int:
        """Tokens of both sentences."""
        return int(self.left.lengths[index] + self.right.lengths[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Translations:
        """The pairs of the given indices."""
        left, right = (InputSource(side).batch(indices, generator) for side in (self.left, self.right))
        return Translations(left, right, tuple(self.meanings[index] for index in indices))


class ParallelSentences(Task[Translations]):
    """Retrieval of the translation of every sentence, in both directions (Artetxe and Schwenk 2019; Hu et al. 2020).

    Works without training; the training loss is the in-batch contrast of translations.

    Args:
        system: reads text.
        vectors: computes sentence embeddings.
        likeness: similarity, :func:`cosine`, :func:`centred` or :func:`margin`.
    """

    name = "parallel-sentences"
    needs = frozenset({"text"})
    single_inputs = False

    def __init__(self, system: System, *, vectors: Vectors = mean_state, likeness: Likeness = cosine) -> None:
        super().__init__(system)
        self.vectors = vectors
        self.likeness = likeness

    def forward(self, inputs: Inputs) -> Tensor:
        """One vector per sentence, [B, D]."""
        return self.vectors(self.system, inputs)

    def loss(self, batch: Translations) -> Tensor:
        """In-batch contrast between a sentence and its translation."""
        return in_batch_contrast(self(batch.left), self(batch.right)).mean()

    @torch.no_grad()
    def measure(self, batch: Translations) -> dict[str, Tensor]:
        """Cosine and contrastive loss of each pair; accuracy needs all pairs at once: :meth:`predictions`."""
        left, right = (finite_scores(self(side), "sentence vectors") for side in (batch.left, batch.right))
        return {"cosine": F.cosine_similarity(left, right), "contrast": in_batch_contrast(left, right)}

    @torch.no_grad()
    def predict(self, batch: Translations) -> list[Row]:
        """The best match of every left sentence among the right ones of the same languages in the batch, and back."""
        return self._retrieved(batch.meanings, self(batch.left), self(batch.right))

    @torch.no_grad()
    def predictions(self, source: Source[Translations], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """The best match of every sentence among all of the source in the other language: two rows per pair."""
        device = next(self.parameters()).device
        found: dict[int, tuple[Meaning, Tensor, Tensor]] = {}
        training = self.training
        self.eval()
        try:
            lengths = [source.length(index) for index in range(len(source))]
            for number, indices in enumerate(in_order(lengths, batch_size)):
                batch = source.batch(indices, seeded(seed, number)).to(device)
                found |= zip(
                    indices, zip(batch.meanings, self(batch.left), self(batch.right), strict=True), strict=True
                )
        finally:
            self.train(training)
        meanings, left, right = zip(*(found[index] for index in range(len(source))), strict=True)
        return self._retrieved(meanings, torch.stack(left), torch.stack(right))

    def inputs_of_row(self, source: Source[Translations], number: int, row: Row) -> RowInputs:
        """A sentence and its translation; there are two lines a pair."""
        index, way = divmod(number, 2)
        batch = source.batch([index], seeded(0, index))
        sides = (batch.left, batch.right)
        return RowInputs(index, sides[::-1] if way else sides)

    def _retrieved(self, meanings: Sequence[Meaning], left: Tensor, right: Tensor) -> list[Row]:
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, meaning in enumerate(meanings):
            places[meaning.languages].append(place)
        rows: dict[tuple[int, int], Row] = {}
        for (one, other), among in places.items():
            ways = self._best(left[among], right[among])
            for way, (source, target) in enumerate(((one, other), (other, one))):
                for place, match in zip(among, ways[way].tolist(), strict=True):
                    rows[place, way] = _row(meanings[place], meanings[among[match]], source, target)
        return [rows[key] for key in sorted(rows)]

    def _best(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """The best row of the right for each of the left [N, D], and back; block by block with a similarity by name."""
        left, right = (finite_scores(side, "sentence vectors") for side in (left, right))
        if self.likeness is centred:
            left, right = left - left.mean(dim=0), right - right.mean(dim=0)
        if self.likeness in (cosine, centred):
            return nearest(left, right), nearest(right, left)
        if self.likeness is margin:
            return margin_nearest(left, right), margin_nearest(right, left)
        scores = finite_scores(self.likeness(left, right), "pairs of sentences")
        return scores.argmax(1), scores.argmax(0)


@dataclass(frozen=True, kw_only=True)
class SentenceVectorSettings:
    """What represents a sentence in ``parallel-sentences``, and how two are compared."""

    layer: int | None = None
    """Layer whose states are averaged as the vector of a sentence, 8 of 12 in XTREME; null: the last one."""
    similarity: Literal["cosine", "centred", "margin"] = "cosine"
    """Of two sentences: cosine; that of vectors less the mean of their language; or relative to the nearest ones."""

    def retriever(self, system: System) -> ParallelSentences:
        """The task over a system."""
        vectors: Vectors = mean_state if self.layer is None else MeanAtDepth(self.layer)
        return ParallelSentences(system, vectors=vectors, likeness=SIMILARITIES[self.similarity])


def controls(source: TranslationSource) -> dict[str, float]:
    """Accuracies without a model: ``chance``, and ``length``, of the translation whose length is the nearest.

    Lengths are tokens over their mean in the language; where several are as near, the answer is drawn.
    """
    if not len(source):
        return {}
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, meaning in enumerate(source.meanings):
        places[meaning.languages].append(place)
    chances, found = [], []
    for among in places.values():
        sides = [side.lengths[among] / side.lengths[among].mean() for side in (source.left, source.right)]
        for one, other in (sides, sides[::-1]):
            chances.append(np.full(len(among), 1 / len(among)))
            found.append(_nearest_lengths(one, other))
    return {"chance": float(np.concatenate(chances).mean()), "length": float(np.concatenate(found).mean())}


def _nearest_lengths(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability that of the nearest values of ``other`` that of the same place is drawn, [N]."""
    values, counts = np.unique(other, return_counts=True)
    right = np.searchsorted(values, one).clip(1, max(len(values) - 1, 1))
    near = np.stack([right - 1, right.clip(max=len(values) - 1)])
    distances = np.abs(values[near] - one)
    nearest = distances <= distances.min(axis=0) + EQUAL
    nearest[1] &= near[1] != near[0]
    drawn = (counts[near] * nearest).sum(axis=0)
    return np.where(np.abs(other - one) <= distances.min(axis=0) + EQUAL, 1 / drawn, 0.0)


def accuracy_by_pair(rows: Sequence[Row]) -> Mapping[str, float]:
    """Accuracy of each direction, by names such as ``en-de``."""
    by_pair: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_pair[str(row["type"])].append(float(row["correct"]))
    return {pair: sum(correct) / len(correct) for pair, correct in sorted(by_pair.items())}


def _row(meaning: Meaning, match: Meaning, source: str, target: str) -> Row:
    example = Example(f"{meaning.id}-{source}-{target}", f"{source}-{target}", source, meaning.id, meaning.id)
    return prediction(example, match.id, topic=meaning.type)
