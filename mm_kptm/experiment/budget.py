"""Training budgets and test examples of arms, which must be equal for a fair comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch

from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, parameter_count
from mm_kptm.experiment.settings import Experiment
from mm_kptm.tasks.example import Row
from mm_kptm.train.loop import sampler_for
from mm_kptm.train.protocol import Source, module_of

GLANCE = 32  #: examples checked before training


@dataclass(frozen=True)
class Budget:
    """Training budget of an arm."""

    steps: int
    batch_size: int
    max_tokens: int | None
    examples: int  #: training examples
    parameters: int  #: trainable parameters

    @classmethod
    def of(cls, settings: Experiment, built: Built) -> Budget:
        """Budget of a built, untrained run."""
        train = settings.train.in_steps(lambda epochs: sampler_for(built.training, settings.train).num_batches(epochs))
        return cls(
            steps=train.num_steps,
            batch_size=train.batch_size,
            max_tokens=train.max_tokens,
            examples=len(built.source("train")),
            parameters=parameter_count(module_of(built.model)),
        )

    def text(self) -> str:
        """Budget in words."""
        cut = "" if self.max_tokens is None else f", cut at {self.max_tokens:,} rows"
        return (
            f"{self.steps:,} steps of {self.batch_size:,} examples{cut} out of {self.examples:,}, "
            f"{self.parameters:,} parameters"
        )


def differences(budgets: Mapping[str, Budget]) -> list[str]:
    """Differences between the budgets of arms, one phrase each: ``parameters: tree 81,204, none 81,100``."""
    found = []
    for field in fields(Budget):
        values = {name: getattr(budget, field.name) for name, budget in budgets.items()}
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{name} {value:,}" if value else f"{name} none" for name, value in values.items())
            found.append(f"{field.name.replace('_', ' ')}: {shown}")
    return found


def check_equal(budgets: Mapping[str, Budget]) -> None:
    """Refuse arms with different budgets.

    Raises:
        UserError: with every difference.
    """
    if found := differences(budgets):
        raise UserError(
            f"the arms do not have the same budget ({'; '.join(found)}); make them equal, or say --unequal to compare "
            "them as they are with the difference printed"
        )


@runtime_checkable
class Shortened(Protocol):
    """Source that is ranked as a whole and gives a smaller one of its kind."""

    def first(self, count: int) -> Source[Any]:
        """A source of its first examples."""


@dataclass(frozen=True)
class _Glance:
    """Source restricted to its first examples."""

    whole: Source[Any]

    def __len__(self) -> int:
        return min(GLANCE, len(self.whole))

    def length(self, index: int) -> int:
        return self.whole.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        return self.whole.batch(indices, generator)


def glance(built: Built, split: str) -> Sequence[Row]:
    """Prediction rows of an untrained model on the first examples of a split, for their ids and gold answers.

    Raises:
        UserError: there is no such split, or the experiment has no task.
    """
    if built.task is None:
        raise UserError("there is nothing to compare without a task: objectives alone answer nothing")
    source = built.source(split)
    return built.task.predictions(source.first(GLANCE) if isinstance(source, Shortened) else _Glance(source))


def check_same_examples(split: str, asked: Mapping[str, Mapping[str, tuple[object, ...]]]) -> None:
    """Refuse arms with different test examples.

    Args:
        split: name of the split, for the message.
        asked: identifying fields of every example, by arm and example id.

    Raises:
        UserError: an id is missing in one arm, or denotes different examples.
    """
    (first, reference), *others = asked.items()
    for name, theirs in others:
        for id_ in sorted(reference.keys() | theirs.keys()):
            if reference.get(id_) != theirs.get(id_):
                raise UserError(
                    f"{first} and {name} are not asked the same: in the split {split} example {id_} is "
                    f"{_shown(reference.get(id_))} for one and {_shown(theirs.get(id_))} for the other; give them "
                    "data that differ in training only"
                )


def _shown(example: tuple[object, ...] | None) -> str:
    return "missing" if example is None else " / ".join(map(str, filter(None, example)))
