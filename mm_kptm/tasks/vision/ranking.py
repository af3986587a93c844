"""Ranking of images for texts and of texts for images: all pairs, or the best of a first stage re-ranked.

Shapes: S texts and P images of a pool, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import IntArray, tokens
from mm_kptm.tasks.example import Example, Row, prediction
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.first_stage import DualScorer
from mm_kptm.tasks.vision.score_matrix import ScoreMatrix, images_key, weights_key

if TYPE_CHECKING:
    from mm_kptm.tasks.vision.retrieval import Captioned, CaptionSource, Retrieval

TO_IMAGE, TO_TEXT = "text-to-image", "image-to-text"


@dataclass(frozen=True)
class RankingSettings:
    """How retrieval ranks the candidates of a pool."""

    rerank: int | None = None  #: candidates that a first stage leaves to the cross-encoder; all pairs when None
    sample: int = 32  #: texts whose images are all scored as well, to measure what the first stage loses
    scores: Path | None = None  #: a folder that keeps the scores, so that a ranking that was killed goes on

    def __post_init__(self) -> None:
        if self.rerank is not None and self.rerank < 1:
            raise UserError(f"data.rerank is {self.rerank} but must be at least 1, or null to score all pairs")
        if self.sample < 0:
            raise UserError(f"data.rerank_sample is {self.sample} but must not be negative")


@dataclass(eq=False)
class Ranking:
    """Ranks every pool of a source.

    Args:
        task: scores pairs, and has a first stage where candidates are re-ranked.
        source: the captions.
        settings: how candidates are ranked.
        batch_size: pairs that are scored at a time.
    """

    task: Retrieval
    source: CaptionSource
    settings: RankingSettings
    batch_size: int

    def rows(self) -> Iterator[Row]:
        """Prediction rows of both directions within every pool."""
        for pool in np.unique(self.source.pools):
            captions = np.flatnonzero(self.source.pools == pool)
            images, own = np.unique(self.source.image_of[captions], return_inverse=True)
            mine = F.one_hot(torch.from_numpy(own), len(images)).bool()
            abouts = [self.source.captions[caption] for caption in captions]
            keep = self.settings.rerank
            if keep is None or keep >= max(len(images), len(captions)):
                scores = self._all_pairs(captions, images)
                yield from self._to_images(abouts, own, scores, mine)
                yield from self._to_texts(abouts, scores, mine)
            else:
                yield from self._two_stages(captions, images, abouts, own, mine, keep)

    def _two_stages(
        self, captions: IntArray, images: IntArray, abouts: Sequence[Captioned], own: IntArray, mine: Tensor, keep: int
    ) -> Iterator[Row]:
        first = self.dual(captions, images)
        forward = self._reranked(first, captions, images, min(keep, len(images)), TO_IMAGE)
        sampled = np.unique(
            np.linspace(0, len(captions) - 1, min(self.settings.sample, len(captions))).astype(np.int64)
        )
        whole = self._all_pairs(captions[sampled], images)
        exact = {int(at): row for at, row in zip(sampled, whole, strict=True)}
        yield from self._to_images(abouts, own, forward, mine, exact)
        backward = self._reranked(first.T, images, captions, min(keep, len(captions)), TO_TEXT)
        yield from self._to_texts(abouts, backward.T, mine)

    def dual(self, captions: IntArray, images: IntArray) -> Tensor:
        """First-stage scores of all pairs, [S, P], from vectors that are computed once.

        Raises:
            UserError: the task has no first stage.
        """
        texts, shown = self.text_vectors(captions), self.image_vectors[torch.from_numpy(self._place(images))]
        return texts @ shown.T

    def text_vectors(self, captions: IntArray) -> Tensor:
        """First-stage vectors of captions, [S, E]."""
        scorer, device = self._scorer, self._device
        parts = []
        for first in range(0, len(captions), self.batch_size):
            text: Tokens = tokens(self.source.shown.texts, captions[first : first + self.batch_size])
            parts.append(scorer.texts(self.task.system, text.to(device)).float().cpu())
        return torch.cat(parts)

    @cached_property
    def image_vectors(self) -> Tensor:
        """First-stage vectors of the images of the source, in the order of :attr:`CaptionSource.images`."""
        scorer, device, images = self._scorer, self._device, self.source.images
        parts = []
        for first in range(0, len(images), self.batch_size):
            shown = self.source.shown.images_alone(images[first : first + self.batch_size]).to(device)
            regions = self.task.system.read_raw(shown).required("regions", Regions)
            parts.append(scorer.images(self.task.system, regions).float().cpu())
        return torch.cat(parts)

    @property
    def _scorer(self) -> DualScorer:
        if self.task.first_stage is None:
            raise UserError("candidates were to be re-ranked, but the task was built without a first stage")
        return self.task.first_stage

    @property
    def _device(self) -> torch.device:
        return next(self.task.parameters()).device

    def _place(self, images: IntArray) -> IntArray:
        return np.searchsorted(self.source.images, images)

    def _reranked(self, first: Tensor, ours: IntArray, theirs: IntArray, keep: int, way: str) -> Tensor:
        """First-stage scores with those of the ``keep`` best of every row replaced, above all others."""
        best = first.topk(keep, dim=1).indices

        def score(row: int) -> Tensor:
            other = theirs[best[row].numpy()]
            mine = np.full(len(other), ours[row])
            return self.pairs(*((mine, other) if way == TO_IMAGE else (other, mine)))

        exact = self._filled(score, len(ours), keep, f"{way}-{keep}", ours, theirs)
        finite_scores(exact, "pairs of a text and an image")
        low = exact.amin(1, keepdim=True) - 1 + first - first.amax(1, keepdim=True)
        return low.scatter(1, best, exact)

    def _all_pairs(self, captions: IntArray, images: IntArray) -> Tensor:
        """Scores of all pairs, [S, P]."""

        def score(row: int) -> Tensor:
            return self.pairs(np.full(len(images), captions[row]), images)

        return finite_scores(
            self._filled(score, len(captions), len(images), "all", captions, images), "pairs of a text and an image"
        )

    def _filled(
        self, score: Callable[[int], Tensor], rows: int, columns: int, what: str, ours: IntArray, theirs: IntArray
    ) -> Tensor:
        if self.settings.scores is None:
            return torch.stack([score(row) for row in range(rows)]) if rows else torch.empty(0, columns)
        numbers = (",".join(map(str, numbers.tolist())) for numbers in (ours, theirs))
        key = f"{what}-{self._key}-{'-'.join(numbers)}"
        matrix = ScoreMatrix(self.settings.scores, key, rows, columns)
        return matrix.fill(score)

    @cached_property
    def _key(self) -> str:
        said = self.source.captions
        texts = self.source.shown.texts.columns["ids"].tolist()
        tags = self.source.shown.tags
        names = [] if tags is None else map(str, tags.columns["ids"].tolist())
        pictures = self.source.shown.pictures
        shown = [] if pictures is None else [images_key(pictures, self.source.images)]
        ids, about = (one.id for one in said), (one.image for one in said)
        return weights_key(self.task, ids, about, map(str, texts), names, shown)

    def pairs(self, texts: IntArray, images: IntArray) -> Tensor:
        """Scores of pairs in the given order; they are computed in order of length."""
        order = self.source.by_length(texts, images)
        scores = torch.empty(len(texts))
        for first in range(0, len(order), self.batch_size):
            part = order[first : first + self.batch_size]
            inputs = self.source.shown.with_images(texts[part], images[part]).to(self._device)
            scores[torch.from_numpy(part)] = self.task(inputs).float().cpu()
        return scores

    def _to_images(
        self,
        abouts: Sequence[Captioned],
        own: IntArray,
        scores: Tensor,
        mine: Tensor,
        exact: dict[int, Tensor] | None = None,
    ) -> Iterator[Row]:
        for at, (about, row, right) in enumerate(zip(abouts, scores, mine, strict=True)):
            answer = abouts[int(np.flatnonzero(own == int(row.argmax()))[0])].image
            more = {} if exact is None or at not in exact else {"full_rank": float(rank_of(exact[at], right))}
            yield _ranked(example_of(about, TO_IMAGE, about.image), answer, row, right, **more)

    def _to_texts(self, abouts: Sequence[Captioned], scores: Tensor, mine: Tensor) -> Iterator[Row]:
        for column, right in zip(scores.T, mine.T, strict=True):
            best, first = abouts[int(column.argmax())], abouts[int(right.nonzero()[0])]
            target = best if best.image == first.image else first
            yield _ranked(example_of(first, TO_TEXT, target.id, id_=first.image), best.id, column, right)


def recall_lost(rows: Sequence[Row], ranks: Sequence[int]) -> dict[str, float]:
    """Recall on the texts whose images were all scored, by both stages and by all pairs; empty where there is none."""
    sampled = [row for row in rows if "full_rank" in row]
    found: dict[str, float] = {}
    for k in ranks if sampled else ():
        staged = sum(float(row["rank"]) <= k for row in sampled) / len(sampled)
        whole = sum(float(row["full_rank"]) <= k for row in sampled) / len(sampled)
        found |= {f"sampled-recall@{k}": staged, f"sampled-recall@{k}-of-all-pairs": whole}
    return found


def rank_of(scores: Tensor, right: Tensor) -> int:
    """The rank of the best right candidate; a wrong one that scores the same stands before it."""
    return 1 + int((scores[~right] >= scores[right].max()).sum())


def example_of(about: Captioned, type_: str, target: str, *, id_: str | None = None) -> Example:
    """Metadata of a caption, or of its image, as an example of a direction."""
    return Example(about.id if id_ is None else id_, type_, about.language, about.image, target)


def _ranked(about: Example, answer: str, scores: Tensor, right: Tensor, **more: float) -> Row:
    rank = rank_of(scores, right)
    return prediction(about, answer, correct=float(rank == 1), rank=rank, **more)
