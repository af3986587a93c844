"""Retrieval by two towers: every image and every caption is encoded once, and they are compared by their vectors.

Shapes: B captions of a batch, S captions, M near misses, P images, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Inputs, Movable
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Objective, after_step
from mm_kptm.preprocessing.inputs import IntArray, tokens
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, prediction
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.ranking import TO_IMAGE, TO_TEXT
from mm_kptm.tasks.vision.retrieval import NEAR_MISS, RANKS, Captioned
from mm_kptm.train.protocol import Source
from mm_kptm.vision.contrastive.two_queues import of_every_text, two_towers
from mm_kptm.vision.objectives.image_text_contrast import ImageTextContrastive


class ImageProvider(Protocol):
    """Where the images of captions come from."""

    def images(self, numbers: IntArray, generator: torch.Generator | None = None) -> Inputs:
        """The images of these numbers in a stream of their own; a generator draws crops, without it there are none.

        Labels of what was drawn, which objectives beside the contrast read, may be among the inputs.
        """


@dataclass(frozen=True, eq=False)
class PairBatch(Movable):
    """Captions with their images, paired by index."""

    inputs: Inputs
    captions: tuple[Captioned, ...]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True, eq=False)
class PairSource:
    """Captions and the images that they are about.

    Args:
        texts: the captions, then the near misses; S + M texts.
        provider: the images.
        captions: metadata of every caption, [S].
        image_of: number of the image of every caption and near miss, [S + M].
        pools: captions of one pool, and their images, are searched together, [S].
        misses: caption index and type of alteration of every near miss, [M].
        crops: whether training sees random crops.
        labels: labels of the captions that objectives beside the contrast read, by objective, each [S].

    Raises:
        UserError: there is one image alone.
    """

    texts: Packed
    provider: ImageProvider
    captions: tuple[Captioned, ...]
    image_of: IntArray
    pools: IntArray
    misses: tuple[tuple[int, str], ...] = ()
    crops: bool = False
    labels: Mapping[str, IntArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(np.unique(self.image_of[: len(self)])) < 2:
            raise UserError("images and texts are contrasted with others, but there is one image alone")

    def __len__(self) -> int:
        return len(self.captions)

    def length(self, index: int) -> int:
        """Tokens of a caption."""
        return int(self.texts.lengths[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PairBatch:
        """The given captions with their images; random crops, where they are asked for, come from the generator."""
        chosen = np.asarray(indices, dtype=np.int64)
        seen = self.provider.images(self.image_of[chosen], generator if self.crops else None)
        labels = {name: torch.from_numpy(values[chosen]) for name, values in self.labels.items()}
        labels |= seen.labels
        inputs = Inputs(seen.streams, image_of=seen.image_of, labels=labels, text=tokens(self.texts, chosen))
        return PairBatch(inputs, tuple(self.captions[i] for i in indices))

    def first(self, count: int) -> PairSource:
        """The first captions with their images and near misses, two images at least."""
        shown = np.unique(self.image_of[: len(self)], return_index=True)[1]
        kept = max(min(count, len(self)), int(np.sort(shown)[1]) + 1)
        near = [number for number, (caption, _) in enumerate(self.misses) if caption < kept]
        chosen = np.array([*range(kept), *(len(self) + number for number in near)], dtype=np.int64)
        columns, lengths = self.texts.take(chosen)
        return replace(
            self,
            texts=Packed(np.cumsum([0, *lengths]), columns),
            captions=self.captions[:kept],
            image_of=self.image_of[chosen],
            pools=self.pools[:kept],
            misses=tuple(self.misses[number] for number in near),
            labels={name: values[:kept] for name, values in self.labels.items()},
        )

    def text(self, indices: IntArray) -> Inputs:
        """Captions or near misses alone."""
        return Inputs(text=tokens(self.texts, indices))

    @cached_property
    def by_length(self) -> IntArray:
        """Captions and near misses in the order of their lengths, [S + M]."""
        return np.argsort(self.texts.lengths, kind="stable")


@dataclass(frozen=True)
class PlainPairs:
    """The pairs of a source as inputs alone, for pretraining."""

    pairs: PairSource

    def __len__(self) -> int:
        return len(self.pairs)

    def length(self, index: int) -> int:
        """Tokens of a caption."""
        return self.pairs.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given captions with their images."""
        return self.pairs.batch(indices, generator).inputs


class ContrastiveRetrieval(Task[PairBatch]):
    """Image-text contrast in training; retrieval of images by captions and of captions by images in evaluation.

    Args:
        system: two towers.
        objective: the contrast that is trained; in-batch unless given.
    """

    name = "contrastive-retrieval"
    needs = frozenset({"text"})

    def __init__(self, system: System, *, objective: Objective | None = None) -> None:
        super().__init__(system)
        self.towers = (two_towers(system),)  # a tuple, so that its parameters are not registered twice
        self.objective = ImageTextContrastive() if objective is None else objective

    def loss(self, batch: PairBatch) -> Tensor:
        """The contrast, averaged over captions."""
        return self.objective.loss(self.system, batch.inputs)

    def after_step(self, step: int) -> None:
        """Let the objective move what follows the weights."""
        after_step([self.objective], self.system, step)

    @torch.no_grad()
    def measure(self, batch: PairBatch) -> dict[str, Tensor]:
        """The contrast of every caption, and whether its image is nearest to it among those of the batch."""
        scores = finite_scores(self._scores(batch), "pairs")
        best = scores.argmax(dim=0) == torch.arange(len(batch), device=scores.device)
        return {"loss": self.objective.measure(self.system, batch.inputs), "in-batch-accuracy": best.float()}

    @torch.no_grad()
    def predict(self, batch: PairBatch) -> list[Row]:
        """The nearest image of the batch for every caption."""
        best = finite_scores(self._scores(batch), "pairs").argmax(dim=0).tolist()
        return [
            prediction(_example(one, "in-batch", one.image), batch.captions[place].image)
            for one, place in zip(batch.captions, best, strict=True)
        ]

    @torch.no_grad()
    def predictions(self, source: Source[PairBatch], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """Prediction rows of both directions within every pool, and one per near miss.

        Raises:
            UserError: the source has no captions.
        """
        if not isinstance(source, PairSource):
            raise UserError(f"retrieval ranks all captions of a source, but {type(source).__name__} holds none")
        training = self.training
        self.eval()
        try:
            numbers = np.unique(source.image_of)
            images, texts = self._images(source, numbers, batch_size), self._texts(source, batch_size)
            places = np.searchsorted(numbers, source.image_of)
            return [*_ranked(source, images, texts, places), *_near_misses(source, images, texts, places)]
        finally:
            self.train(training)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Recall at 1, 5 and 10 and the median rank in both directions, within pools, and near-miss accuracy."""
        found: dict[str, float] = {}
        for way in (TO_IMAGE, TO_TEXT):
            ranks = [float(row["rank"]) for row in rows if row["type"] == way]
            found |= {f"{way}-recall@{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in RANKS if ranks}
            found |= {f"{way}-median-rank": float(np.median(ranks))} if ranks else {}
        near = [float(row["correct"]) for row in rows if str(row["type"]).startswith(NEAR_MISS)]
        return found | ({f"{NEAR_MISS}-accuracy": sum(near) / len(near)} if near else {})

    def _scores(self, batch: PairBatch) -> Tensor:
        """Scores of all images with all captions of the batch, [B, B]."""
        (towers,) = self.towers
        seen = of_every_text(towers.embed_visual(batch.inputs.with_streams(text=None)), batch.inputs)
        return towers.scores(seen, towers.embed_text(batch.inputs.with_streams(images=None, regions=None)))

    def _images(self, source: PairSource, numbers: IntArray, batch_size: int) -> Tensor:
        """The normalised vector of every image, [P, D]."""
        (towers,), device = self.towers, next(self.parameters()).device
        parts = [numbers[first : first + batch_size] for first in range(0, len(numbers), batch_size)]
        vectors = [towers.embed_visual(source.provider.images(part).to(device)) for part in parts]
        return F.normalize(torch.cat(vectors).float().cpu(), dim=-1)

    def _texts(self, source: PairSource, batch_size: int) -> Tensor:
        """The normalised vector of every caption and near miss, computed in the order of their lengths, [S + M, D]."""
        (towers,), device = self.towers, next(self.parameters()).device
        order = source.by_length
        parts = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
        vectors = [towers.embed_text(source.text(part).to(device)) for part in parts]
        found = F.normalize(torch.cat(vectors).float().cpu(), dim=-1)
        return found[torch.from_numpy(np.argsort(order))]


def _ranked(source: PairSource, images: Tensor, texts: Tensor, places: IntArray) -> Iterator[Row]:
    searched = np.unique(np.stack([source.pools, places[: len(source)]]), axis=1)
    pools_of = np.bincount(searched[1], minlength=len(images))
    for pool in np.unique(source.pools):
        captions = np.flatnonzero(source.pools == pool)
        seen, own = np.unique(places[captions], return_inverse=True)
        scores = finite_scores(texts[captions] @ images[seen].T, "pairs of a text and an image")
        mine = F.one_hot(torch.from_numpy(own), len(seen)).bool()
        abouts = [source.captions[caption] for caption in captions]
        names = [abouts[int(np.flatnonzero(own == place)[0])].image for place in range(len(seen))]
        for about, row, right in zip(abouts, scores, mine, strict=True):
            yield _rank(_example(about, TO_IMAGE, about.image), names[int(row.argmax())], row, right)
        for place, name, column, right in zip(seen, names, scores.T, mine.T, strict=True):
            first = abouts[int(right.nonzero()[0])]  # of several captions of an image, whatever is found
            id_ = name if pools_of[place] == 1 else f"{name}-{first.language}"  # once in every pool
            yield _rank(_example(first, TO_TEXT, first.id, id_=id_), abouts[int(column.argmax())].id, column, right)


def _near_misses(source: PairSource, images: Tensor, texts: Tensor, places: IntArray) -> Iterator[Row]:
    for number, (caption, kind) in enumerate(source.misses):
        image, about = images[places[caption]], source.captions[caption]
        leads = bool(texts[caption] @ image > texts[len(source) + number] @ image)
        example = _example(about, f"{NEAR_MISS}-{kind}", "caption", id_=f"{about.id}-{kind}")
        yield prediction(example, "caption" if leads else NEAR_MISS)


def _rank(about: Example, answer: str, scores: Tensor, right: Tensor) -> Row:
    """With the rank of the best right candidate; a wrong one that scores the same stands before it."""
    rank = 1 + int((scores[~right] >= scores[right].max()).sum())
    return prediction(about, answer, correct=float(rank == 1), rank=rank)


def _example(about: Captioned, type_: str, target: str, *, id_: str | None = None) -> Example:
    return Example(about.id if id_ is None else id_, type_, about.language, about.image, target)
