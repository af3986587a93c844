"""Questions about passages, cut into overlapping windows that an encoder can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mm_kptm.data.formats.squad import AnswerSpan, PassageQuestion
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Pieces, framed
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.text.question_answering import OUTSIDE, Passage, QuestionSource


class Window(NamedTuple):
    """Pieces of a passage from ``start`` up to ``end``."""

    start: int
    end: int

    def context(self, piece: int) -> float:
        """How much context around a piece the window shows: the shorter side, longer windows before shorter ones."""
        return min(piece - self.start, self.end - 1 - piece) + 0.01 * (self.end - self.start)


def windows_of(pieces: int, room: int, stride: int) -> list[Window]:
    """Windows of ``room`` pieces that begin every ``stride`` pieces; the last one ends with the passage.

    >>> windows_of(7, 4, 2)
    [Window(start=0, end=4), Window(start=2, end=6), Window(start=4, end=7)]
    """
    windows = [Window(0, min(room, pieces))]
    while windows[-1].end < pieces:
        start = windows[-1].start + min(stride, room)
        windows.append(Window(start, min(start + room, pieces)))
    return windows


def central_windows(windows: Sequence[Window], pieces: int) -> list[int]:
    """For every piece the window that shows most of its context; the first of equals."""
    return [
        max((number for number, one in enumerate(windows) if one.start <= piece < one.end), key=_shown(windows, piece))
        for piece in range(pieces)
    ]


def passage_questions(
    questions: Sequence[PassageQuestion],
    encoding: TextEncoding,
    *,
    stride: int = 128,
    max_question_length: int = 64,
    answered: bool = False,
) -> QuestionSource:
    """A source of questions, each with all windows of its passage.

    Args:
        questions: the questions.
        encoding: tokenizer and length of a window, question and special tokens included.
        stride: pieces between the beginnings of two windows.
        max_question_length: pieces of a question that are read.
        answered: whether questions are left out whose passage does not hold a gold answer where the file says.

    Raises:
        UserError: a window has no room for the passage beside its question.
    """
    framings: list[tuple[list[int], list[int]]] = []
    spoken: list[str] = []
    numbers: list[list[int]] = []
    central: list[list[int]] = []
    gold: list[tuple[int, int]] = []
    first, passages, about = [0], [], []
    specials = encoding.tokenizer.specials
    cached: dict[tuple[str, str], Pieces] = {}
    for one in questions:
        if answered and not any(answer.start is not None for answer in one.answers):
            continue
        asked = encoding.tokenizer.encode(one.question, one.question_language).ids[:max_question_length]
        key = one.passage, one.language
        if key not in cached:
            cached = {key: encoding.tokenizer.encode(*key)}  # questions about one passage follow each other
        passage = cached[key]
        room = encoding.max_length - specials.around(2) - len(asked)
        if room < 1:
            raise UserError(
                f"data.max_length is {encoding.max_length}, which leaves no room for the passage of question {one.id} "
                f"beside its {len(asked)} pieces; make it longer, or data.max_question_length shorter"
            )
        windows = windows_of(len(passage.ids), room, stride)
        best = central_windows(windows, len(passage.ids))
        answer = _pieces_of(one.answers, passage)
        before = specials.opens + len(asked) + specials.between
        for number, window in enumerate(windows):
            ids, segments = framed(specials, asked, passage.ids[window.start : window.end])
            framings.append((ids, segments if specials.between == 1 else [0] * len(ids)))
            spoken.append(one.language)
            inside = range(window.start, window.end)
            numbers.append([OUTSIDE] * before + [*inside] + [OUTSIDE])
            central.append([0] * before + [int(best[piece] == number) for piece in inside] + [0])
            whole = answer is not None and window.start <= answer[0] and answer[1] < window.end
            gold.append(
                (0, 0)
                if answer is None or not whole
                else (before + answer[0] - window.start, before + answer[1] - window.start)
            )
        first.append(len(framings))
        passages.append(Passage(one.passage, passage.spans))
        about.append(_example(one))
    return QuestionSource(
        InputSource(encoding.pack(framings, spoken)),
        Packed.of(pieces=numbers, central=central),
        np.array(gold, dtype=np.int64).reshape(-1, 2),
        np.array(first, dtype=np.int64),
        tuple(passages),
        tuple(about),
    )


def _shown(windows: Sequence[Window], piece: int) -> Callable[[int], float]:
    return lambda number: windows[number].context(piece)


def _pieces_of(answers: Sequence[AnswerSpan], passage: Pieces) -> tuple[int, int] | None:
    """First and last piece of the first gold answer that lies where the file says."""
    for answer in answers:
        if answer.start is not None and (found := passage.covering(answer.start, answer.start + len(answer.text))):
            return found[0], found[-1]
    return None


def _example(one: PassageQuestion) -> Example:
    across = one.language if one.language == one.question_language else f"{one.language}-{one.question_language}"
    texts = tuple(answer.text for answer in one.answers)
    return Example(one.id, across, one.language, one.group, texts[0] if texts else "", texts)
