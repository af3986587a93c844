"""Metadata of examples: id, type, language, group and target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mm_kptm.batch import Inputs, Movable

#: One line of ``predictions/<split>.jsonl``: id, type, language, group, answer, target, correct, and what a task adds.
Row = Mapping[str, str | float]

#: Keys of a row that judge its answer by the gold one; a row whose example has no gold answer has none of them.
JUDGED = ("target", "correct", "rank", "memorised")


@dataclass(frozen=True, slots=True)
class Example:
    """Metadata of an example, apart from its inputs."""

    id: str
    type: str
    language: str
    group: str  #: what it shares with questions that are not independent of it: the scene or the world
    target: str  #: the gold answer, empty where the data have none
    given_answers: tuple[str, ...] = ()  #: what ten people answered, where they were asked
    factual_answer: str | None = None  #: the answer by the true facts, where others are injected

    @property
    def is_labelled(self) -> bool:
        """Whether the data have a gold answer."""
        return self.target != ""


@dataclass(frozen=True, eq=False)
class RowInputs:
    """What a line of the predictions is about."""

    index: int | None = None  #: of the example in its source; None where a line is of no single example
    texts: tuple[Inputs, ...] = ()  #: the inputs of its texts; empty where none is read
    complete: bool = True  #: whether these are all that the model reads of it at once, so that attention is shown
    question: str = ""  #: in words, where the source has them


class ExampleBatch(Movable):
    """A batch that knows its examples; the base of the frozen dataclasses that tasks read."""

    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    @property
    def labelled(self) -> tuple[bool, ...]:
        """Whether each example has a gold answer, [B]; evaluation measures those that have."""
        return tuple(example.is_labelled for example in self.about)


def prediction(about: Example, answer: str, *, correct: float | None = None, **more: str | float) -> Row:
    """A line of the predictions; every task makes its rows here.

    Args:
        about: the example.
        answer: what was predicted.
        correct: how right that is, from 0 to 1; 1 where ``answer`` is the gold one and 0 elsewhere unless given.
        more: what the task adds; of :data:`JUDGED` nothing stays where the example has no gold answer.

    >>> prediction(Example("7", "colour", "en", "scene-1", target=""), "red", rank=0)
    {'id': '7', 'type': 'colour', 'language': 'en', 'group': 'scene-1', 'answer': 'red'}
    """
    right = float(answer == about.target) if correct is None else correct
    row: dict[str, str | float] = {
        "id": about.id,
        "type": about.type,
        "language": about.language,
        "group": about.group,
        "answer": answer,
        "target": about.target,
        "correct": right,
        **more,
    }
    return row if about.is_labelled else {key: value for key, value in row.items() if key not in JUDGED}
