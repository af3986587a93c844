"""Dataset protocol: which datasets feed which tasks, found by walking this package and installed plug-ins.

A :class:`TaskDataset` joins a task, a dataset and the function that turns one into the other. A dataset is a frozen
dataclass of settings whose first field, a ``Literal``, is its name; it becomes a choice of an experiment's ``data:``
block if a :class:`TaskDataset` names it. Entry point group for plug-ins: ``mm_kptm.tasks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_args, get_type_hints, runtime_checkable

from torch import Tensor

from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.skips import NO_SKIPS, Skips
from mm_kptm.errors import UserError
from mm_kptm.io.collected import one_by_one
from mm_kptm.knowledge.kinds.protocol import KnowledgeKind
from mm_kptm.objectives.mixture import Objective
from mm_kptm.objectives.spec import ObjectiveContext, Offers, build_objectives
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.systems.discovery import discovered, instances
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.protocol import Task
from mm_kptm.train.protocol import Source, Trainable
from mm_kptm.vision.modules.pixels import PixelFormat

T = TypeVar("T")
PRETRAINING = "pretraining"  #: name in place of a task for pure pretraining


@runtime_checkable
class ReadsText(Protocol):
    """Settings of data whose texts are cut into pieces by one tokenizer."""

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the texts."""


@dataclass(frozen=True)
class DataRequest:
    """Requirements of an experiment on its data, apart from the dataset's own settings."""

    recipe: Recipe
    knowledge: KnowledgeKind | None = None  #: how facts are injected, if any
    facts: str = "none"  #: which facts are injected: none, true, random, swapped or oracle
    objectives: Mapping[str, float] = field(default_factory=dict)  #: of pretraining, with their weights
    vectors: Path | None = None  #: a folder of entity vectors, for knowledge that is fused
    objective_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: in place of published ones
    pixels: PixelFormat | None = None  #: how the encoder reads pictures, where it reads any
    visible_matrix: bool = True  #: whether a fact is seen by the name that it hangs from alone

    @property
    def form(self) -> str | None:
        """The form in which facts are given (:mod:`mm_kptm.knowledge.kinds.protocol`); None where none are."""
        return None if self.knowledge is None else self.knowledge.form

    def built_objectives(self, offers: Offers, tokenizer: Tokenizer, mask_rate: float = 0.15) -> dict[str, Objective]:
        """Build the objectives that are asked for.

        Args:
            offers: what the data have.
            tokenizer: of their texts.
            mask_rate: share of tokens that are masked.

        Raises:
            UserError: a name is unknown, or the data or the system lack what an objective needs.
        """
        context = ObjectiveContext(
            tokenizer.specials,
            len(tokenizer),
            offers,
            mask_rate,
            self.recipe,
            self.objective_arguments,
            vocabulary=tokenizer.vocabulary,
        )
        return build_objectives(self.objectives, context)


@dataclass(frozen=True)
class AuxiliaryObjective:
    """Auxiliary objective that stores facts in the weights, trained beside the task instead of injecting them."""

    objective: Objective
    sizes: Mapping[str, int]  #: of the head that the objective reads by its own name


@dataclass(frozen=True)
class FileReader(Generic[T]):
    """Source of the examples of a file, whole or part by part."""

    read: Callable[[Path], Sequence[T]]
    make: Callable[[Sequence[T]], Source[Any]]

    def __call__(self, path: Path) -> Source[Any]:
        """All examples of the file."""
        return self.make(self.read(path))

    def parts(self, path: Path, size: int) -> Iterator[Source[Any]]:
        """Iterate over sources of ``size`` examples each, in order, which hold no more of the file at a time.

        The file is read to its end first, so that nothing is computed for one that is malformed.
        """
        found = one_by_one(self.read)(path)
        if isinstance(found, Iterator):
            for _ in found:
                pass
            found = one_by_one(self.read)(path)
        left = iter(found)
        while some := [*islice(left, size)]:
            yield self.make(some)


@dataclass(frozen=True)
class PreparedData:
    """A task prepared on a dataset, without a model."""

    sources: Mapping[str, Callable[[], Source[Any]]]  #: by split; built on first use
    model: Callable[[System], Trainable[Any]]  #: builds the module that is trained and evaluated
    sizes: Mapping[str, int] = field(default_factory=dict)  #: encoder sizes that follow from the data
    heads: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: that the system is built with
    fingerprints: Mapping[str, str] = field(default_factory=dict)  #: digests that identify the data
    baselines: Callable[[str], Mapping[str, float]] = lambda split: {}  #: baseline scores on a split that need no model
    knowledge_forms: frozenset[str] = frozenset()  #: the forms in which facts can be given: branches, entities, ...
    knowledge_bases: tuple[str, ...] = ()  #: knowledge bases of the candidates, where facts are injected as such
    auxiliary: Callable[[], AuxiliaryObjective] | None = None  #: the facts, where they are learnt beside the task
    vectors: Tensor | None = None  #: of the entities that examples number, where these can be trained
    encoding: TextEncoding | None = None  #: text encoding and injected facts, where examples are texts
    skipped: Callable[[str], Skips] = lambda split: NO_SKIPS  #: unusable examples of a split so far, with reasons
    read_file: Callable[[Path], Source[Any]] | None = None  #: examples of another file; answers may be missing there
    labels: Mapping[str, Callable[[], Any] | None] = field(default_factory=dict)
    """What the inputs offer to objectives beside the task, besides texts, languages and regions; as in ``Offers``."""
    submit: Callable[[str, Sequence[Row], Path], Sequence[Path]] | None = None  #: official files of a split's answers
    check: Callable[[str, Path], None] | None = None  #: reads such a file of a split; ``UserError`` names a fault
    illustrate: Callable[[str, int], Illustration] | None = None  #: what is known of an example of a split, by index


@dataclass(frozen=True)
class TaskDataset:
    """A task on a dataset."""

    task: type[Task[Any]] | None  #: None for pretraining
    data: type[Any]  #: a frozen dataclass of settings
    prepare: Callable[[Any, DataRequest], PreparedData]
    read: Callable[[Path], Sequence[object]] | None = None  #: the examples of one file, where they lie in files

    @property
    def task_name(self) -> str:
        """Name in experiment files."""
        return PRETRAINING if self.task is None else self.task.name


def data_name(data: type[Any]) -> str:
    """The name of a dataset: the literal that its first field holds."""
    return str(get_args(get_type_hints(data)["name"])[0])


@discovered
def task_datasets() -> tuple[TaskDataset, ...]:
    """Every task on a dataset, in a fixed order."""
    found = [task_dataset for room in ("datasets", "tasks") for _, task_dataset in instances(TaskDataset, room)]
    return tuple(dict.fromkeys(found))


@discovered
def datasets() -> tuple[type[Any], ...]:
    """Every dataset that feeds a task, each once, by name."""
    found = {data_name(task_dataset.data): task_dataset.data for task_dataset in task_datasets()}
    return tuple(found[name] for name in sorted(found))


def find_task_dataset(task: str, data: Any) -> TaskDataset:
    """The task on the dataset of the given settings.

    Raises:
        UserError: there is none; what that dataset can feed is named.
    """
    ours = [task_dataset for task_dataset in task_datasets() if task_dataset.data is type(data)]
    for task_dataset in ours:
        if task_dataset.task_name == task:
            return task_dataset
    able = ", ".join(task_dataset.task_name for task_dataset in ours)
    raise UserError(f"{data_name(type(data))} cannot feed {task}; it can feed {able}")
