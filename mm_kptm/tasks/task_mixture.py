"""Several tasks learnt by one encoder, with tasks that pause once they have converged (12-in-1).

Shapes: B examples of a batch, over all tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row, RowInputs
from mm_kptm.tasks.protocol import Task
from mm_kptm.train.evaluation import Evaluation
from mm_kptm.train.protocol import AfterStep, Source

TASK, BETWEEN = "task", "/"  #: key of a row that names its task; between a task and what is of it


@dataclass(frozen=True)
class StopAndGo:
    """When a task pauses and goes on (Lu et al. 2020, section 3.3, dynamic stop-and-go)."""

    gap: int = 4  #: a paused task is trained in every so many steps
    patience: int = 1  #: evaluations without a better score after which one more pauses it
    improvement: float = 0.001  #: relative gain that counts as better
    decline: float = 0.005  #: drop below the best score at which a paused task goes on
    cooldown: int = 1  #: evaluations after a change that count for nothing

    def __post_init__(self) -> None:
        if self.gap < 1:
            raise UserError(f"data.gap is {self.gap} but must be at least 1")


@dataclass(frozen=True)
class MixedBatch:
    """A batch of each of several tasks, and where each example stands in the whole."""

    by_task: Mapping[str, Any]
    places: Mapping[str, tuple[int, ...]]

    def to(self, device: torch.device | str) -> Self:
        """The same with every tensor on ``device``."""
        return type(self)({name: batch.to(device) for name, batch in self.by_task.items()}, self.places)

    def __len__(self) -> int:
        return sum(map(len, self.places.values()))

    @property
    def labelled(self) -> tuple[bool, ...]:
        """Whether each example has a gold answer, [B]."""
        found = [True] * len(self)
        for name, batch in self.by_task.items():
            for place, known in zip(self.places[name], getattr(batch, "labelled", None) or (), strict=False):
                found[place] = known
        return tuple(found)


@dataclass(frozen=True)
class RoundSource:
    """Training examples: one of every task at each index; those of shorter sources come again."""

    sources: Mapping[str, Source[Any]]

    def __len__(self) -> int:
        return max(map(len, self.sources.values()))

    def length(self, index: int) -> int:
        """Length of the examples of all tasks together."""
        return sum(source.length(index % len(source)) for source in self.sources.values())

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixedBatch:
        """A batch of every task, drawn in the order of their names."""
        made = {}
        for name in sorted(self.sources):
            source = self.sources[name]
            made[name] = source.batch([index % len(source) for index in indices], generator)
        return MixedBatch(made, {name: tuple(range(len(indices))) for name in made})


@dataclass(frozen=True)
class ConcatenatedSource:
    """The examples of several tasks, one task after the other, for evaluation."""

    sources: Mapping[str, Source[Any]]

    def __len__(self) -> int:
        return sum(map(len, self.sources.values()))

    def length(self, index: int) -> int:
        """Length of an example."""
        name, inner = self.find(index)
        return self.sources[name].length(inner)

    def find(self, index: int) -> tuple[str, int]:
        """The task of an example and its index there."""
        for name, source in self.sources.items():
            if index < len(source):
                return name, index
            index -= len(source)
        raise IndexError(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixedBatch:
        """The examples of the given indices, task by task."""
        inner: dict[str, list[int]] = defaultdict(list)
        places: dict[str, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            name, own = self.find(index)
            inner[name].append(own)
            places[name].append(place)
        made = {name: self.sources[name].batch(own, generator) for name, own in sorted(inner.items())}
        return MixedBatch(made, {name: tuple(own) for name, own in places.items()})


class TaskMixture(Task[MixedBatch]):
    """Several tasks over one encoder (Lu et al. 2020, 12-in-1).

    A step is one round: a batch of every task that is not paused, and the weighted sum of their losses. (The released
    code updates the weights after each task of a round.) After an evaluation on ``dev`` a task whose score has
    converged pauses and is trained in every ``gap``-th step alone, until its score has declined.

    Args:
        system: the encoder, shared by all tasks.
        tasks: by name; tasks that ask for the same head share it.
        weights: of the losses.
        schedule: when tasks pause; None: never.
        task_ids: rows of the tasks in the table of an encoder with task tokens (section 3.2).

    Raises:
        UserError: there are fewer than two tasks.
    """

    name = "multi-task"
    needs = frozenset({"text"})
    single_inputs = False

    def __init__(
        self,
        system: System,
        tasks: Mapping[str, Task[Any]],
        *,
        weights: Mapping[str, float] | None = None,
        schedule: StopAndGo | None = None,
        task_ids: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(system)
        if len(tasks) < 2:
            raise UserError(f"a mixture has two tasks at least, but there is {len(tasks)}")
        self.tasks = nn.ModuleDict({name: tasks[name] for name in sorted(tasks)})
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in self.tasks}
        self.schedule = schedule
        self.task_ids = dict(task_ids or {})
        self._asked: int | None = None
        system.encoder.register_forward_pre_hook(self._tell)
        for name in ("paused", "bad", "cooling"):
            self.register_buffer(name, torch.zeros(len(tasks), dtype=torch.long))
        self.register_buffer("best", torch.full((len(tasks),), float("-inf")))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def of(self, name: str) -> Task[Any]:
        """One of the tasks."""
        task = self.tasks[name]
        if not isinstance(task, Task):
            raise TypeError(f"{name} is a {type(task).__name__}, which is no task")
        return task

    def _ask(self, name: str, what: str, *given: Any, **more: Any) -> Any:
        """Call a method of one of the tasks, whose token the texts carry meanwhile."""
        self._asked = self.task_ids.get(name)
        try:
            return getattr(self.of(name), what)(*given, **more)
        finally:
            self._asked = None

    def _tell(self, _: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Put the token of the task that is asked into the inputs of the encoder."""
        inputs = given[0]
        if self._asked is None or not isinstance(inputs, Inputs) or inputs.text is None:
            return None
        text = replace(inputs.text, tasks=torch.full_like(inputs.text.ids, self._asked))
        return (inputs.with_streams(text=text), *given[1:])

    @property
    def active(self) -> dict[str, bool]:
        """Whether each task is trained in the next step."""
        if self.schedule is None:
            return dict.fromkeys(self.tasks, True)
        rests = int(self.get_buffer("steps")) % self.schedule.gap != 0
        paused = self.get_buffer("paused").tolist()
        found = {name: not (own and rests) for name, own in zip(self.tasks, paused, strict=True)}
        return found if any(found.values()) else dict.fromkeys(self.tasks, True)

    def loss(self, batch: MixedBatch) -> Tensor:
        """The weighted sum of the losses of the tasks that are trained in this step, a scalar."""
        active = self.active
        losses = [
            self.weights[name] * self._ask(name, "loss", own) for name, own in batch.by_task.items() if active[name]
        ]
        return torch.stack(losses).sum()

    @torch.no_grad()
    def measure(self, batch: MixedBatch) -> dict[str, Tensor]:
        """The score of each example, by the first measure of its task that is no loss, and its loss."""
        found = {name: torch.zeros(len(batch)) for name in ("score", "loss")}
        for name, own in batch.by_task.items():
            measured = self._ask(name, "measure", own)
            places = torch.tensor(batch.places[name])
            scores = next((values for key, values in measured.items() if key != "loss"), (-measured["loss"]).exp())
            found["score"][places] = scores.float().cpu()
            found["loss"][places] = measured["loss"].float().cpu()
        return found

    @torch.no_grad()
    def predict(self, batch: MixedBatch) -> list[Row]:
        """Rows of all tasks, in the order of the batch."""
        rows: dict[int, Row] = {}
        for name, own in batch.by_task.items():
            made = self._ask(name, "predict", own)
            rows |= zip(batch.places[name], (named(row, name) for row in made), strict=True)
        return [rows[place] for place in range(len(batch))]

    @torch.no_grad()
    def predictions(self, source: Source[Any], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """Rows of every task as it makes them itself, task by task.

        Raises:
            UserError: the source does not hold several tasks.
        """
        if not isinstance(source, ConcatenatedSource | RoundSource):
            raise UserError(f"several tasks are predicted on a source of each, but {type(source).__name__} is one")
        rows: list[Row] = []
        for name, own in source.sources.items():
            made = self._ask(name, "predictions", own, batch_size=batch_size, seed=seed)
            rows += [named(row, name) for row in made]
        return rows

    def inputs_of_row(self, source: Source[Any], number: int, row: Row) -> RowInputs:
        """The inputs of a row of one of the tasks, by the task itself; none where its examples are not numbered so."""
        if not isinstance(source, ConcatenatedSource):
            return RowInputs()
        name, plain = str(row[TASK]), unnamed(row)
        own = source.sources[name]
        index = next((at for at, one in enumerate(getattr(own, "about", ())) if one.id == plain["id"]), 0)
        return self.of(name).inputs_of_row(own, index, plain)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy and official metrics of each task, such as ``vqa/accuracy``."""
        by_task: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_task[str(row[TASK])].append(unnamed(row))
        found: dict[str, float] = {}
        for name, own in by_task.items():
            found[f"{name}{BETWEEN}accuracy"] = sum(float(row["correct"]) for row in own) / len(own)
            found |= {f"{name}{BETWEEN}{key}": value for key, value in self.of(name).summary(own).items()}
        return found

    def after_step(self, step: int) -> None:
        """Count the step, and let tasks update what follows the weights."""
        self.get_buffer("steps").fill_(step)
        for name in self.tasks:
            if isinstance(task := self.of(name), AfterStep):
                task.after_step(step)

    def after_evaluation(self, split: str, source: Source[Any], evaluation: Evaluation) -> None:
        """Let tasks pause or go on by their scores on ``dev``."""
        if split != "dev" or self.schedule is None or not isinstance(source, ConcatenatedSource):
            return
        scores, start = evaluation.per_example["score"], 0
        for name, own in source.sources.items():
            part = slice(start, start + len(own))
            known = torch.ones(len(own), dtype=torch.bool) if evaluation.labelled is None else evaluation.labelled[part]
            start += len(own)
            if known.any():
                self._judge(list(self.tasks).index(name), scores[part][known].mean().item(), self.schedule)

    def _judge(self, task: int, score: float, schedule: StopAndGo) -> None:
        paused, best, bad, cooling = (self.get_buffer(name) for name in ("paused", "best", "bad", "cooling"))
        if score > best[task].item() + schedule.improvement * abs(best[task].item()) or best[task].isinf():
            best[task], bad[task] = score, 0
        else:
            bad[task] += 1
        if cooling[task] > 0:
            cooling[task] -= 1
            bad[task] = 0
        if not paused[task] and bad[task] > schedule.patience:
            paused[task], bad[task], cooling[task] = 1, 0, schedule.cooldown
        elif paused[task] and score < best[task].item() - schedule.decline:
            paused[task], bad[task], cooling[task] = 0, 0, schedule.cooldown


def named(row: Row, task: str) -> Row:
    """A row with the name of its task, in its id and type as well."""
    return {**row, "id": f"{task}{BETWEEN}{row['id']}", "type": f"{task}{BETWEEN}{row['type']}", TASK: task}


def unnamed(row: Row) -> Row:
    """The row as the task itself made it."""
    before = f"{row[TASK]}{BETWEEN}"
    own = {key: value for key, value in row.items() if key != TASK}
    return {**own, "id": str(row["id"]).removeprefix(before), "type": str(row["type"]).removeprefix(before)}
