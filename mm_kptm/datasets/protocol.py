"""Which data can feed which task: the supplies, found by walking this package and installed plug-ins.

A :class:`TaskDataset` joins a task, a data set and the function that turns one into the other. A data set is a frozen
dataclass of settings whose first field, a ``Literal``, is its name; it becomes a choice of an experiment's ``data:``
block by being named in a supply. Entry point group for plug-ins: ``mm_kptm.tasks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, get_args, get_type_hints, runtime_checkable

from torch import Tensor

from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import KnowledgeKind
from mm_kptm.objectives.mixture import Objective
from mm_kptm.systems.discovery import instances
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.protocol import Task
from mm_kptm.train.protocol import Source, Trainable

PRETRAINING = "pretraining"  #: stands in for a task where there are objectives alone


@runtime_checkable
class ReadsText(Protocol):
    """Settings of data whose texts are cut into pieces by one tokenizer."""

    def tokenizer(self) -> Tokenizer:
        """What cuts the texts."""


@dataclass(frozen=True)
class DataRequest:
    """What an experiment asks of its data, beside the data's own settings."""

    recipe: Recipe
    knowledge: KnowledgeKind | None = None  #: the way in which facts are given, if any are
    facts: str = "none"  #: which facts are given: none, true, random, swapped or oracle
    objectives: Mapping[str, float] = field(default_factory=dict)  #: of pretraining, with their weights
    vectors: Path | None = None  #: a folder of entity vectors, for knowledge that is fused

    @property
    def form(self) -> str | None:
        """The form in which facts are given (:mod:`mm_kptm.knowledge.kinds.protocol`); None where none are."""
        return None if self.knowledge is None else self.knowledge.form


@dataclass(frozen=True)
class AuxiliaryObjective:
    """Facts that are told with no example and kept in weights: what trains them, beside the task."""

    objective: Objective
    sizes: Mapping[str, int]  #: of the head that the objective reads by its own name


@dataclass(frozen=True)
class PreparedData:
    """Everything about a task on its data that needs no model yet."""

    sources: Mapping[str, Callable[[], Source[Any]]]  #: by split; made when first asked for
    model: Callable[[System], Trainable[Any]]  #: what is trained and measured, a module
    sizes: Mapping[str, int] = field(default_factory=dict)  #: what the data asks of an encoder with fresh weights
    heads: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: that the system is built with
    fingerprints: Mapping[str, str] = field(default_factory=dict)  #: what tells these data from others
    baselines: Callable[[str], Mapping[str, float]] = lambda split: {}  #: what needs no model scores on a split
    knowledge_forms: frozenset[str] = frozenset()  #: the forms in which facts can be given: branches, entities, ...
    knowledge_bases: tuple[str, ...] = ()  #: knowledge bases of the candidates, where facts are told as such
    auxiliary: Callable[[], AuxiliaryObjective] | None = None  #: the facts, where they are learnt beside the task
    vectors: Tensor | None = None  #: of the entities that examples number, where these can be trained
    skipped: Callable[[str], int] = lambda split: 0  #: examples of a split's file that cannot be asked
    read_file: Callable[[Path], Source[Any]] | None = None  #: examples of another file; answers may be missing there
    submit: Callable[[str, Sequence[Row], Path], Sequence[Path]] | None = None  #: official files of a split's answers


@dataclass(frozen=True)
class TaskDataset:
    """A task on a data set."""

    task: type[Task[Any]] | None  #: None for pretraining
    data: type[Any]  #: a frozen dataclass of settings
    prepare: Callable[[Any, DataRequest], PreparedData]
    read: Callable[[Path], Sequence[object]] | None = None  #: the examples of one file, where they lie in files

    @property
    def task_name(self) -> str:
        """As experiment files call it."""
        return PRETRAINING if self.task is None else self.task.name


def data_name(data: type[Any]) -> str:
    """The name of a data set: the literal that its first field holds."""
    return str(get_args(get_type_hints(data)["name"])[0])


@cache
def task_datasets() -> tuple[TaskDataset, ...]:
    """Every supply there is, in a fixed order."""
    found = [supply for room in ("datasets", "tasks") for _, supply in instances(TaskDataset, room)]
    return tuple(dict.fromkeys(found))


@cache
def datasets() -> tuple[type[Any], ...]:
    """Every data set of a supply, each once, by name."""
    found = {data_name(supply.data): supply.data for supply in task_datasets()}
    return tuple(found[name] for name in sorted(found))


def find_task_dataset(task: str, data: Any) -> TaskDataset:
    """The supply of a task from the given settings of data.

    Raises:
        UserError: there is none; what that data set can feed is named.
    """
    ours = [supply for supply in task_datasets() if supply.data is type(data)]
    for supply in ours:
        if supply.task_name == task:
            return supply
    able = ", ".join(supply.task_name for supply in ours)
    raise UserError(f"{data_name(type(data))} cannot feed {task}; it can feed {able}")
