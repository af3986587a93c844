"""Frozen vectors of pictures: a linear probe, nearest neighbours, and retrieval of pictures by pictures.

Shapes: N pictures, M labelled ones, D dim.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, prediction
from mm_kptm.tasks.vision.retrieval import RANKS
from mm_kptm.tasks.vision.two_towers.frozen_towers import FrozenTowers, LabelledPictures, PictureBatch, embedded
from mm_kptm.train.protocol import Source

STRENGTHS = tuple(10.0**power for power in range(-3, 4))  #: inverse L2 penalties that a probe chooses from
_HELD_OUT = 5  # one in so many labelled pictures chooses the penalty


class _LearntFromVectors(FrozenTowers[PictureBatch]):
    """Answers learnt from the vectors of labelled pictures, which the towers compute once.

    Args:
        system: two towers.
        labelled: opens the pictures that are learnt from.
    """

    def __init__(self, system: System, labelled: Callable[[], LabelledPictures]) -> None:
        super().__init__(system)
        self.labelled = labelled

    @abstractmethod
    def answers(self, vectors: Tensor, labels: Sequence[str], asked: Tensor) -> list[str]:
        """The label of each asked vector [N, D], from labelled ones [M, D]."""

    @torch.no_grad()
    def predict(self, batch: PictureBatch) -> list[Row]:
        """The answer for every picture."""
        asked = self.system.encode_images(batch.pictures).float().cpu()
        return self._rows(asked, batch.about)

    @torch.no_grad()
    def predictions(self, source: Source[PictureBatch], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """The answer for every picture of a source."""
        return self._rows(embedded(self.system, _pictures(source)), _pictures(source).about)

    def _rows(self, asked: Tensor, about: Sequence[Example]) -> list[Row]:
        labelled = self.labelled()
        labels = [one.target for one in labelled.about]
        if len(set(labels)) < 2:
            raise UserError(f"{self.name} learns from {len(set(labels))} class; there must be two at least")
        answers = self.answers(embedded(self.system, labelled), labels, asked)
        return [prediction(one, answer) for one, answer in zip(about, answers, strict=True)]


class LinearProbe(_LearntFromVectors):
    """Multinomial logistic regression on frozen vectors (Radford et al. 2021, appendix A.3).

    The L2 penalty is the one that is best on a fifth of the labelled pictures, after which all are learnt from.
    """

    name = "linear-probe"

    def answers(self, vectors: Tensor, labels: Sequence[str], asked: Tensor) -> list[str]:
        """The most probable label."""
        from sklearn.linear_model import LogisticRegression

        x, y = vectors.double().numpy(), np.array(labels)
        held = np.arange(len(y)) % _HELD_OUT == 0
        held = held if set(y[~held]) == set(y) and held.any() else np.zeros(len(y), bool)

        def fitted(strength: float, rows: np.ndarray) -> LogisticRegression:
            return LogisticRegression(C=strength, max_iter=2000, tol=1e-6).fit(x[rows], y[rows])

        best = max(STRENGTHS, key=lambda c: fitted(c, ~held).score(x[held], y[held])) if held.any() else 1.0
        found: list[str] = fitted(best, np.ones(len(y), bool)).predict(asked.double().numpy()).tolist()
        return found


class NearestNeighbours(_LearntFromVectors):
    """Votes of the 20 nearest labelled pictures, weighted by exp(cosine / 0.07) (Caron et al. 2021, DINO, app. F.1)."""

    name = "nearest-neighbours"
    neighbours, temperature = 20, 0.07

    def answers(self, vectors: Tensor, labels: Sequence[str], asked: Tensor) -> list[str]:
        """The label with most votes; of equal ones the first by name."""
        classes = sorted(set(labels))
        numbers = torch.tensor([classes.index(label) for label in labels])
        near = (asked @ vectors.T).topk(min(self.neighbours, len(vectors)), dim=1)
        votes = torch.zeros(len(asked), len(classes))
        votes.scatter_add_(1, numbers[near.indices], (near.values / self.temperature).softmax(dim=1))
        return [classes[number] for number in votes.argmax(dim=1).tolist()]


class ImageRetrieval(FrozenTowers[PictureBatch]):
    """Pictures of the same class by a picture, among all others of the split."""

    name = "image-retrieval"

    def predict(self, batch: PictureBatch) -> list[Row]:
        """The nearest other picture of the batch."""
        return _ranked(self.system.encode_images(batch.pictures).float().cpu(), batch.about)

    @torch.no_grad()
    def predictions(self, source: Source[PictureBatch], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """The nearest other picture of the source, the rank of the first right one and the average precision."""
        return _ranked(embedded(self.system, _pictures(source)), _pictures(source).about)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Recall at 1, 5 and 10, median rank of the first right picture, and mean average precision."""
        ranks = [float(row["rank"]) for row in rows]
        found = {f"recall@{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in RANKS}
        precision = sum(float(row["average_precision"]) for row in rows) / len(rows)
        return found | {"median-rank": float(np.median(ranks)), "mean-average-precision": precision}


def _ranked(vectors: Tensor, about: Sequence[Example]) -> list[Row]:
    """A row for every picture whose class has another one."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(about):
        members[one.target].append(place)
    rows = []
    for place, one in enumerate(about):
        right = torch.zeros(len(about), dtype=torch.bool)
        right[members[one.target]] = True
        others = torch.arange(len(about)) != place
        if not bool((right & others).any()):
            rows.append(prediction(one, "", correct=0.0, rank=len(about), average_precision=0.0))
            continue
        scores, mine = (vectors @ vectors[place])[others], right[others]
        # Of equal scores the wrong picture stands before the right one.
        order = np.lexsort((mine.numpy(), -scores.numpy()))
        hits = mine.numpy()[order]
        places = np.flatnonzero(hits) + 1
        precision = float(np.mean(np.arange(1, len(places) + 1) / places))
        best = about[int(torch.arange(len(about))[others][order[0]])].target
        rows.append(prediction(one, best, correct=float(hits[0]), rank=int(places[0]), average_precision=precision))
    return rows


def _pictures(source: Source[PictureBatch]) -> LabelledPictures:
    if not isinstance(source, LabelledPictures):
        raise UserError(f"vectors of labelled pictures are compared, but {type(source).__name__} holds none")
    return source
