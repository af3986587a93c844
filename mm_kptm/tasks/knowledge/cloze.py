"""Cloze probing: what a model of masked tokens puts into a blank tells which facts it knows, or was told.

Shapes: B sentences, V candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource, IntArray
from mm_kptm.systems.discovery import catalogue
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import Heads
from mm_kptm.tasks.knowledge_use import with_memorised
from mm_kptm.tasks.metrics.ranking import UNKNOWN, over_relations, rank
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores

HEAD = "masked-tokens"


@dataclass(frozen=True)
class CandidateWords:
    """What may fill a blank: words that are one token each."""

    words: tuple[str, ...]
    ids: tuple[int, ...]  #: of the tokens


@dataclass(frozen=True, eq=False)
class Blanks(ExampleBatch):
    """Some sentences with the rows of their blanks."""

    inputs: Inputs
    rows: Tensor  #: of the blanks among the tokens, [B]
    truth: Tensor  #: the place of the answer among the candidates, :data:`UNKNOWN` where it is not told, [B]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class ClozeSource:
    """Sentences with blanks.

    Args:
        shown: the sentences.
        blanks: the place of the blank in every sentence, [S].
        truth: the place of every answer among the candidates, [S].
        about: per sentence; the type is the relation.
    """

    shown: InputSource
    blanks: IntArray
    truth: IntArray
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of a sentence."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Blanks:
        """The given sentences."""
        chosen = np.asarray(indices, dtype=np.int64)
        ends = self.shown.texts.lengths[chosen].cumsum()
        rows = ends - self.shown.texts.lengths[chosen] + self.blanks[chosen]
        return Blanks(
            self.shown.batch(indices, generator),
            torch.from_numpy(rows),
            torch.from_numpy(self.truth[chosen]),
            tuple(self.about[index] for index in indices),
        )


class FillBlanks(Task[Blanks]):
    """Fill the blank of a sentence with one of many words (Petroni et al. 2019, LAMA), with or without training.

    Args:
        system: with its published head for masked tokens.
        candidates: the words to choose from.

    Raises:
        UserError: the system has no such head.
    """

    name = "cloze"
    needs = frozenset({"text"})

    def __init__(self, system: System, candidates: CandidateWords) -> None:
        super().__init__(system)
        self.words = candidates.words
        self.ids: Tensor
        self.register_buffer("ids", torch.tensor(candidates.ids), persistent=False)
        system.head(HEAD)

    @classmethod
    def heads(cls, recipe: Recipe) -> Heads:
        """The head to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load`.

        Raises:
            UserError: the recipe has none; those that have are named.
        """
        if HEAD not in recipe.heads:
            able = ", ".join(name for name, other in catalogue().items() if HEAD in other.heads)
            raise UserError(
                f"cloze asks for masked tokens, but {recipe.name} has no head for them; systems that have: {able}"
            )
        return {HEAD: {}}

    def forward(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """The score of every candidate at the given rows, [B, V]."""
        encoded: Encoded = self.system(inputs, OutputRows({"text": rows}, pooled=False))
        scores: Tensor = self.system.head(HEAD)(encoded.text)
        return scores[:, self.ids]

    def loss(self, batch: Blanks) -> Tensor:
        """Cross-entropy over the candidates, averaged over blanks whose answer is known."""
        scores = self(batch.inputs, batch.rows)
        known = batch.truth != UNKNOWN
        return F.cross_entropy(scores[known], batch.truth[known], reduction="sum") / known.sum().clamp(min=1)

    def scores(self, batch: Blanks) -> Tensor:
        """The score of every candidate at every blank, [B, V]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs, batch.rows), "words that may fill a blank")

    @torch.no_grad()
    def measure(self, batch: Blanks) -> dict[str, Tensor]:
        """Whether the answer is the best, is among the best ten, one over its rank, and the loss."""
        scores = self.scores(batch)
        ranks = rank(scores, batch.truth)
        measured = {
            "accuracy": (ranks == 1).float(),
            "among_ten": ((ranks >= 1) & (ranks <= 10)).float(),
            "reciprocal_rank": torch.where(ranks > 0, 1 / ranks.clamp(min=1), 0.0),
            "loss": F.cross_entropy(scores, batch.truth, ignore_index=UNKNOWN, reduction="none"),
        }
        if all(about.factual_answer is not None for about in batch.about):
            best = scores.argmax(dim=1).tolist()
            stuck = [
                float(self.words[place] == one.factual_answer) for one, place in zip(batch.about, best, strict=True)
            ]
            measured["memorised"] = torch.tensor(stuck, device=scores.device)
        return measured

    @torch.no_grad()
    def predict(self, batch: Blanks) -> list[Row]:
        """The best candidate, and the rank of the answer, 0 where it is not told."""
        scores = self.scores(batch)
        best, ranks = scores.argmax(dim=1).tolist(), rank(scores, batch.truth).tolist()
        return [
            with_memorised(self.row(about, self.words[place], at), about, self.words[place])
            for about, place, at in zip(batch.about, best, ranks, strict=True)
        ]

    def row(self, about: Example, answer: str, at: int) -> Row:
        """A line of the predictions."""
        return prediction(about, answer, correct=float(at == 1), rank=float(at))

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """As LAMA: precision at one and at ten and the reciprocal rank of each relation, averaged over relations."""
        return over_relations(rows)


def first_blanks(texts: Packed, mask: int) -> IntArray:
    """The place of the first blank in every sentence, -1 where there is none, [S]; facts have none."""
    hidden = texts.columns["ids"] == mask
    if "branches" in texts.columns:
        hidden = hidden & (texts.columns["branches"] == 0)
    rows = np.flatnonzero(hidden)
    owners = np.searchsorted(texts.offsets, rows, side="right") - 1
    found, first = np.unique(owners, return_index=True)
    places = np.full(len(texts), -1, dtype=np.int64)
    places[found] = rows[first] - texts.offsets[found]
    return places
