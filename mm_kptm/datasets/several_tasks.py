"""Several tasks on data of their own, trained together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mm_kptm.config.document import MappingNode, Plain, ScalarNode
from mm_kptm.datasets.protocol import (
    DataRequest,
    PreparedData,
    TaskDataset,
    data_name,
    datasets,
    find_task_dataset,
)
from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.protocol import Task, check_fit, find
from mm_kptm.tasks.task_mixture import TASK, ConcatenatedSource, RoundSource, StopAndGo, TaskMixture, unnamed

OWN = ("task", "weight", "task_id")  #: keys of a task beside those of its data


@dataclass(frozen=True)
class SeveralTasks:
    """Several tasks, each with its data, over one encoder; a split holds the tasks that have it."""

    name: Literal["several-tasks"]
    tasks: dict[str, dict[str, Any]]
    """The ``data`` block of each task by its name. Beside the keys of the data a block may have ``task``, where its own
    name is another, ``weight``, of its loss, and ``task_id``, its row of an encoder with task tokens."""
    pauses: bool = True  #: whether tasks that have converged pause (dynamic stop-and-go), by their score on dev
    gap: int = 4  #: a paused task is trained in every so many steps

    def __post_init__(self) -> None:
        if len(self.tasks) < 2:
            raise UserError(f"data.tasks has {len(self.tasks)} tasks, but a mixture has two at least")
        _ = self.schedule

    @property
    def schedule(self) -> StopAndGo | None:
        """When tasks pause."""
        schedule = StopAndGo(gap=self.gap)
        return schedule if self.pauses else None


@dataclass(frozen=True)
class _Part:
    """One of the tasks, prepared."""

    task: str
    prepared: PreparedData
    weight: float
    task_id: int | None


def several_tasks(data: SeveralTasks, request: DataRequest) -> PreparedData:
    """Every task prepared by itself, and the mixture of them."""
    parts = {name: _part(name, block, request) for name, block in data.tasks.items()}
    ids = {name: part.task_id for name, part in parts.items() if part.task_id is not None}
    for name, part in parts.items():
        if "train" not in part.prepared.sources:
            raise UserError(f"data.tasks.{name} has no split train, so it cannot be learnt beside the others")
    splits = dict.fromkeys(split for part in parts.values() for split in part.prepared.sources)

    def having(split: str) -> dict[str, _Part]:
        """The tasks that have a split; some have a test, RefCOCO has testA."""
        return {name: part for name, part in parts.items() if split in part.prepared.sources}

    def source(split: str) -> RoundSource | ConcatenatedSource:
        own = {name: part.prepared.sources[split]() for name, part in having(split).items()}
        return RoundSource(own) if split == "train" else ConcatenatedSource(own)

    def model(system: System) -> TaskMixture:
        tasks = {}
        for name, part in parts.items():
            made = part.prepared.model(system)
            if not isinstance(made, Task):
                raise TypeError(f"{name} is trained by {type(made).__name__}, which is no task")
            tasks[name] = made
        weights = {name: part.weight for name, part in parts.items()}
        return TaskMixture(system, tasks, weights=weights, schedule=data.schedule, task_ids=ids)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        written: list[Path] = []
        for name, part in having(split).items():
            if part.prepared.submit is not None:
                own = [unnamed(row) for row in rows if row[TASK] == name]
                written += part.prepared.submit(split, own, folder)
        if not written:
            raise UserError(f"no server takes answers to {split} of {', '.join(having(split))}; predict writes them")
        return written

    def baselines(split: str) -> dict[str, float]:
        scored = {name: part.prepared.baselines(split) for name, part in having(split).items()}
        return {f"{name}/{key}": value for name, own in scored.items() for key, value in own.items()}

    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=model,
        sizes=_merged("sizes", {name: part.prepared.sizes for name, part in parts.items()}),
        heads=_merged("heads", {name: part.prepared.heads for name, part in parts.items()}),
        fingerprints={
            f"{name}/{key}": value for name, part in parts.items() for key, value in part.prepared.fingerprints.items()
        },
        baselines=baselines,
        submit=submit if any(part.prepared.submit is not None for part in parts.values()) else None,
    )


def _part(name: str, block: Mapping[str, Any], request: DataRequest) -> _Part:
    own = {key: block[key] for key in OWN if key in block}
    task, place = str(own.get("task", name)), f"data.tasks.{name}"
    check_fit(find(task), request.recipe)
    kinds = {data_name(shape): shape for shape in datasets() if shape is not SeveralTasks}
    known = block.get("name")
    if known not in kinds:
        raise UserError(f"{place}.name is {known!r}, which is no data set{nearest(str(known), kinds)}")
    weight, task_id = own.get("weight", 1.0), own.get("task_id")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise UserError(f"{place}.weight is {weight!r} but must be a number greater than 0")
    if task_id is not None and (isinstance(task_id, bool) or not isinstance(task_id, int) or task_id < 0):
        raise UserError(f"{place}.task_id is {task_id!r} but must be a whole number of 0 or more")
    from mm_kptm.config.validation import validate  # imports pydantic, which listing the data sets does without

    node = _node({key: value for key, value in block.items() if key not in OWN}, place)
    if not isinstance(node, MappingNode):
        raise UserError(f"{place} holds keys and values")
    settings: Any = validate(kinds[known], node)
    return _Part(task, find_task_dataset(task, settings).prepare(settings, request), float(weight), task_id)


def _node(value: Plain, place: str) -> MappingNode | ScalarNode:
    """Plain values as the tree that settings are read from."""
    if isinstance(value, dict):
        return MappingNode({key: _node(inner, f"{place}.{key}") for key, inner in value.items()}, place)
    return ScalarNode(value, place, None if value is None else str(value))


def _merged(what: str, by_task: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One mapping of all; ``UserError`` where two tasks want another value of the same key."""
    found: dict[str, tuple[str, Any]] = {}
    for name, own in by_task.items():
        for key, value in own.items():
            first, known = found.setdefault(key, (name, value))
            if known != value:
                raise UserError(
                    f"data.tasks {first} and {name} want other {what} of the same encoder: {key} {known} and {value}; "
                    "train them apart, or with an encoder that has a head for each"
                )
    return {key: value for key, (_, value) in found.items()}


SEVERAL_SUPPLY = TaskDataset(TaskMixture, SeveralTasks, several_tasks)
