"""What an arm may spend and what it is asked: arms are compared when both are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, parameter_count
from mm_kptm.experiment.settings import Experiment
from mm_kptm.tasks.example import Row
from mm_kptm.train.loop import sampler_for
from mm_kptm.train.protocol import Source, module_of

GLANCE = 32  #: examples looked at before anything is trained


@dataclass(frozen=True)
class Budget:
    """What training an arm may use."""

    steps: int
    batch_size: int
    max_tokens: int | None
    examples: int  #: to train on
    parameters: int  #: that are trained

    @classmethod
    def of(cls, settings: Experiment, built: Built) -> Budget:
        """The budget of a run that has not begun."""
        train = settings.train.in_steps(lambda epochs: sampler_for(built.training, settings.train).num_batches(epochs))
        return cls(
            steps=train.num_steps,
            batch_size=train.batch_size,
            max_tokens=train.max_tokens,
            examples=len(built.source("train")),
            parameters=parameter_count(module_of(built.model)),
        )

    def text(self) -> str:
        """In words."""
        cut = "" if self.max_tokens is None else f", cut at {self.max_tokens:,} rows"
        return (
            f"{self.steps:,} steps of {self.batch_size:,} examples{cut} out of {self.examples:,}, "
            f"{self.parameters:,} parameters"
        )


def differences(budgets: Mapping[str, Budget]) -> list[str]:
    """Where the budgets of arms part, one phrase for each number: ``parameters: tree 81,204, none 81,100``."""
    found = []
    for field in fields(Budget):
        values = {name: getattr(budget, field.name) for name, budget in budgets.items()}
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{name} {value:,}" if value else f"{name} none" for name, value in values.items())
            found.append(f"{field.name.replace('_', ' ')}: {shown}")
    return found


def check_equal(budgets: Mapping[str, Budget]) -> None:
    """Refuse arms of different budgets.

    Raises:
        UserError: with every difference.
    """
    if found := differences(budgets):
        raise UserError(
            f"the arms do not have the same budget ({'; '.join(found)}); make them equal, or say --unequal to compare "
            "them as they are with the difference printed"
        )


@dataclass(frozen=True)
class _Glance:
    """The first examples of a source."""

    whole: Source[Any]

    def __len__(self) -> int:
        return min(GLANCE, len(self.whole))

    def length(self, index: int) -> int:
        return self.whole.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Any:
        return self.whole.batch(indices, generator)


def glance(built: Built, split: str) -> list[Row]:
    """What the first examples of a split expect, and what an untrained model answers to them.

    Raises:
        UserError: there is no such split, or nothing that answers.
    """
    if built.task is None:
        raise UserError("there is nothing to compare without a task: objectives alone answer nothing")
    return built.task.predictions(_Glance(built.source(split)))


def check_same_examples(split: str, asked: Mapping[str, Mapping[str, tuple[object, ...]]]) -> None:
    """Refuse arms that were asked different things.

    Args:
        split: its name, for the message.
        asked: of every arm, by the id of an example, what distinguishes that example from others.

    Raises:
        UserError: an id that one arm has and another lacks, or that stands for different examples.
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
