"""Extractive question answering: the answer to a question is a span of a passage.

A long passage is read in windows that overlap; the answer is the best span of all windows.

Shapes: Q questions, W windows of a batch, T token rows of all windows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, OutputRows, SequenceLayout, pad
from mm_kptm.data.packing import Packed, gather
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, requested_heads
from mm_kptm.tasks.metrics.spans import Normalise, mlqa_normalised, span_exact_match, span_f1, squad_normalised
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores

OUTSIDE = -1  #: piece number of a row that is no row of the passage; window row of an answer outside a window
NORMALISATIONS = ("squad", "mlqa")


@dataclass(frozen=True)
class Passage:
    """A passage and the characters of each of its pieces."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def answer(self, first: int, last: int) -> str:
        """The text from piece ``first`` to piece ``last``, both included."""
        return self.text[self.spans[first][0] : self.spans[last][1]]


@dataclass(frozen=True, eq=False)
class QuestionWindows(ExampleBatch):
    """A batch of questions, each with all windows of its passage."""

    inputs: Inputs  #: a sequence per window
    starts: Tensor  #: row of the answer's first piece in its window, the first row without an answer, [W]
    ends: Tensor  #: row of its last piece, [W]
    pieces: Tensor  #: number of the passage's piece at each row, :data:`OUTSIDE` elsewhere, [T]
    central: Tensor  #: whether this window shows most context around the piece, [T]
    sequence_ids: Tensor  #: the question of each window, [W]
    passages: tuple[Passage, ...]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class QuestionSource:
    """Questions about passages in windows.

    Args:
        windows: the texts of all windows, question and part of the passage.
        marks: columns ``pieces`` and ``central`` of every row, as in :class:`QuestionWindows`.
        gold: rows of the answer in every window, [windows, 2].
        first: the first window of every question, and the number of windows, [Q + 1].
        passages: the passage of every question.
        about: metadata of each question; the target is the first gold answer, ``given_answers`` are all.
    """

    windows: InputSource
    marks: Packed
    gold: NDArray[np.int64]
    first: NDArray[np.int64]
    passages: tuple[Passage, ...]
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return np.add.reduceat(self.windows.texts.lengths, self.first[:-1]) if len(self) else self.first[:0]

    def length(self, index: int) -> int:
        """Tokens of all windows of a question."""
        return int(self._lengths[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> QuestionWindows:
        """The questions of the given indices."""
        chosen, counts = gather(self.first, np.asarray(indices, dtype=np.int64))
        columns, _ = self.marks.take(chosen)
        gold = torch.from_numpy(self.gold[chosen])
        return QuestionWindows(
            self.windows.batch(chosen.tolist(), generator),
            starts=gold[:, 0],
            ends=gold[:, 1],
            pieces=torch.from_numpy(columns["pieces"].astype(np.int64)),
            central=torch.from_numpy(columns["central"].astype(bool)),
            sequence_ids=torch.repeat_interleave(torch.arange(len(indices)), torch.from_numpy(counts)),
            passages=tuple(self.passages[index] for index in indices),
            about=tuple(self.about[index] for index in indices),
        )


class QuestionAnswering(Task[QuestionWindows]):
    """Extractive question answering (Rajpurkar et al. 2016, SQuAD; Devlin et al. 2019, section 4.2).

    Args:
        system: uses its head ``answer-spans``, start and end logits of every row; without one, a new linear layer.
        normalisation: how answers are compared: ``squad``, as XQuAD and TyDi QA, or ``mlqa``, by the rules of the
            passage's language.
        max_answer_length: pieces of an answer at most.
        n_best: how many starts and how many ends of a window are combined.

    Raises:
        UserError: an unknown normalisation.
    """

    name = "question-answering"
    needs = frozenset({"text"})
    HEADS = ("answer-spans",)

    def __init__(
        self, system: System, *, normalisation: str = "squad", max_answer_length: int = 30, n_best: int = 20
    ) -> None:
        super().__init__(system)
        if normalisation not in NORMALISATIONS:
            raise UserError(f"answers are compared by {' or '.join(NORMALISATIONS)}, not by {normalisation!r}")
        self.normalisation = normalisation
        self.max_answer_length = max_answer_length
        self.n_best = n_best
        self.head = ChosenHead(system, self.HEADS, lambda: nn.Linear(system.dim, 2))

    @classmethod
    def heads(cls, recipe: Recipe) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return requested_heads(recipe, cls.HEADS)

    def forward(self, inputs: Inputs) -> Tensor:
        """Start and end logits of every row, [T, 2]."""
        encoded: Encoded = self.system(inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
        return self.head.of(self.system)(encoded.text)

    def loss(self, batch: QuestionWindows) -> Tensor:
        """Mean cross-entropy of start and end over windows; without the answer, a window points at its first row."""
        return span_losses(self(batch.inputs), _layout(batch), batch.starts, batch.ends).mean()

    @torch.no_grad()
    def measure(self, batch: QuestionWindows) -> dict[str, Tensor]:
        """F1 and exact match of every question, as fractions, and its mean loss over windows."""
        scores = self.scores(batch)
        losses = span_losses(scores, _layout(batch), batch.starts, batch.ends)
        counts = torch.bincount(batch.sequence_ids, minlength=len(batch))
        summed = torch.zeros(len(batch), device=losses.device, dtype=losses.dtype).index_add(
            0, batch.sequence_ids, losses
        )
        rows = [self.row(*found) for found in zip(batch.about, self._answers(scores, batch), strict=True)]
        judged = {name: [float(row.get(key, 0.0)) for row in rows] for name, key in _JUDGED.items()}
        found = {name: torch.tensor(values, device=losses.device) for name, values in judged.items()}
        return {**found, "loss": summed / counts}

    @torch.no_grad()
    def predict(self, batch: QuestionWindows) -> list[Row]:
        """The best span of every question's passage; ``correct`` is its F1."""
        answers = self._answers(self.scores(batch), batch)
        return [self.row(about, answer) for about, answer in zip(batch.about, answers, strict=True)]

    def row(self, about: Example, answer: str) -> Row:
        """One prediction row."""
        if not about.is_labelled:
            return prediction(about, answer)
        compared = self._normalised(about.language)
        f1 = span_f1(answer, about.given_answers, compared)
        exact = span_exact_match(answer, about.given_answers, compared)
        return prediction(about, answer, correct=f1, exact_match=exact)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """F1 and exact match over all questions, exact match of each language, and their mean over languages."""
        spoken: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            spoken[str(row["language"])].append(row)
        exact = {language: _mean(some, "exact_match") for language, some in sorted(spoken.items())}
        f1 = {language: _mean(some, "correct") for language, some in sorted(spoken.items())}
        scores = {"f1": _mean(rows, "correct"), "exact-match": _mean(rows, "exact_match")}
        if len(spoken) > 1:
            scores |= {f"exact-match-{language}": value for language, value in exact.items()}
            scores |= {"f1-of-languages": _average(f1), "exact-match-of-languages": _average(exact)}
        return scores

    def scores(self, batch: QuestionWindows) -> Tensor:
        """Start and end logits, [T, 2]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "answers")

    def _normalised(self, language: str) -> Normalise:
        return squad_normalised if self.normalisation == "squad" else partial(mlqa_normalised, language=language)

    def _answers(self, scores: Tensor, batch: QuestionWindows) -> list[str]:
        """The text of the best span of every question; empty where none of the best is one."""
        best: list[tuple[float, str]] = [(float("-inf"), "")] * len(batch)
        layout = _layout(batch)
        parts = (layout.split(x.cpu()) for x in (scores, batch.pieces, batch.central))
        for owner, logits, pieces, central in zip(batch.sequence_ids.tolist(), *parts, strict=True):
            found = best_span(logits, pieces, central, max_answer_length=self.max_answer_length, n_best=self.n_best)
            if found is not None and found[0] > best[owner][0]:
                best[owner] = (found[0], batch.passages[owner].answer(*found[1:]))
        return [answer for _, answer in best]


_JUDGED = {"f1": "correct", "exact-match": "exact_match"}


def span_losses(scores: Tensor, layout: SequenceLayout, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean of the cross-entropies of start and end over the rows of each window, [W].

    Args:
        scores: start and end logits, [T, 2].
        layout: rows of the windows.
        starts: gold row in each window; a row that the window does not have counts 0, [W].
        ends: likewise, [W].
    """
    losses = []
    for edge, gold in zip(scores.unbind(1), (starts, ends), strict=True):
        padded = pad(edge, layout, value=float("-inf"))
        lengths = torch.tensor(layout.lengths, device=gold.device)
        inside = torch.where((gold >= 0) & (gold < lengths), gold, OUTSIDE)
        losses.append(F.cross_entropy(padded, inside, ignore_index=OUTSIDE, reduction="none"))
    return (losses[0] + losses[1]) / 2


def best_span(
    logits: Tensor, pieces: Tensor, central: Tensor, *, max_answer_length: int = 30, n_best: int = 20
) -> tuple[float, int, int] | None:
    """The best span of a window: its score, and its first and last piece in the passage; None where there is none.

    A span is scored by the sum of its start and end logits; both lie in the passage, the start is in the window that
    shows most of its context (Devlin et al. 2019, released code).

    Args:
        logits: start and end logits of the window, [n, 2].
        pieces: number of the passage's piece at each row, :data:`OUTSIDE` elsewhere, [n].
        central: whether this window shows most context around the piece, [n].
        max_answer_length: pieces of an answer at most.
        n_best: how many starts and how many ends are combined.
    """
    count = min(n_best, len(logits))
    starts, ends = (logits[:, edge].topk(count).indices for edge in (0, 1))
    starts, ends = starts[(pieces[starts] >= 0) & central[starts]], ends[pieces[ends] >= 0]
    if not len(starts) or not len(ends):
        return None
    lengths = ends[None] - starts[:, None] + 1
    totals = logits[starts, 0][:, None] + logits[ends, 1][None]
    totals = totals.masked_fill((lengths < 1) | (lengths > max_answer_length), float("-inf"))
    place = int(totals.argmax())
    score = float(totals.flatten()[place])
    if score == float("-inf"):
        return None
    start, end = divmod(place, len(ends))
    return score, int(pieces[starts[start]]), int(pieces[ends[end]])


def _layout(batch: QuestionWindows) -> SequenceLayout:
    if batch.inputs.text is None:
        raise UserError("questions are asked about texts, but the inputs have none")
    return batch.inputs.text.layout


def _mean(rows: Sequence[Row], key: str) -> float:
    return sum(float(row[key]) for row in rows) / len(rows)


def _average(scores: dict[str, float]) -> float:
    return sum(scores.values()) / len(scores)
