"""Cloze probing: a masked language model fills a blank with a word, which shows the facts it has learned or read.

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
    """Candidate words of a blank, one token each."""

    words: tuple[str, ...]
    ids: tuple[int, ...]  #: token ids


@dataclass(frozen=True, eq=False)
class Blanks(ExampleBatch):
    """Batch of sentences with the rows of their blanks."""

    inputs: Inputs
    rows: Tensor  #: token rows of the blanks, [B]
    truth: Tensor  #: index of the answer among the candidates, :data:`UNKNOWN` where there is no label, [B]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class ClozeSource:
    """Source of sentences with blanks.

    Args:
        shown: the sentences.
        blanks: position of the blank in every sentence, [S].
        truth: index of every answer among the candidates, [S].
        about: metadata of every sentence; its type is the relation.
    """

    shown: InputSource
    blanks: IntArray
    truth: IntArray
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Number of tokens of a sentence."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Blanks:
        """Collate sentences."""
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
    """Fill the blank of a sentence with one of the candidate words (Petroni et al. 2019, LAMA), zero-shot or trained.

    Args:
        system: system with its pretrained masked-tokens head.
        candidates: candidate words.

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
        """Heads to request from :func:`mm_kptm.build` or :func:`mm_kptm.load`.

        Raises:
            UserError: the recipe has no such head; the message names the recipes that do.
        """
        if HEAD not in recipe.heads:
            able = ", ".join(name for name, other in catalogue().items() if HEAD in other.heads)
            raise UserError(
                f"cloze needs masked tokens, but {recipe.name} has no head for them; systems that have: {able}"
            )
        return {HEAD: {}}

    def forward(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Scores of every candidate at the given rows, [B, V]."""
        encoded: Encoded = self.system(inputs, OutputRows({"text": rows}, pooled=False))
        scores: Tensor = self.system.head(HEAD)(encoded.text)
        return scores[:, self.ids]

    def loss(self, batch: Blanks) -> Tensor:
        """Cross-entropy over the candidates, averaged over blanks with a label."""
        scores = self(batch.inputs, batch.rows)
        known = batch.truth != UNKNOWN
        return F.cross_entropy(scores[known], batch.truth[known], reduction="sum") / known.sum().clamp(min=1)

    def scores(self, batch: Blanks) -> Tensor:
        """The score of every candidate at every blank, [B, V]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs, batch.rows), "words that may fill a blank")

    @torch.no_grad()
    def measure(self, batch: Blanks) -> dict[str, Tensor]:
        """Accuracy, accuracy among the ten best, reciprocal rank and loss of every blank."""
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
        """Best candidate and rank of the answer, 0 without a label."""
        scores = self.scores(batch)
        best, ranks = scores.argmax(dim=1).tolist(), rank(scores, batch.truth).tolist()
        return [
            with_memorised(self.row(about, self.words[place], at), about, self.words[place])
            for about, place, at in zip(batch.about, best, ranks, strict=True)
        ]

    def row(self, about: Example, answer: str, at: int) -> Row:
        """One row of the predictions."""
        return prediction(about, answer, correct=float(at == 1), rank=float(at))

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """LAMA's metrics: precision at 1 and 10 and reciprocal rank per relation, averaged over relations."""
        return over_relations(rows)


def first_blanks(texts: Packed, mask: int) -> IntArray:
    """Position of the first blank in every sentence, -1 where there is none, [S]; facts have none."""
    masked = texts.columns["ids"] == mask
    if "branches" in texts.columns:
        masked = masked & (texts.columns["branches"] == 0)
    rows = np.flatnonzero(masked)
    sequence_ids = np.searchsorted(texts.offsets, rows, side="right") - 1
    with_blank, first = np.unique(sequence_ids, return_index=True)
    positions = np.full(len(texts), -1, dtype=np.int64)
    positions[with_blank] = rows[first] - texts.offsets[with_blank]
    return positions
