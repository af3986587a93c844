"""Task interface, the catalogue of tasks, and compatibility checks of systems."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.data.sampler import in_order, seeded
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import write_lines
from mm_kptm.systems.discovery import by_name, discovered, modules
from mm_kptm.systems.discovery import catalogue as recipes
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, Row, RowInputs
from mm_kptm.tasks.stored_rows import StoredRows, stored
from mm_kptm.train.evaluation import shard_batches
from mm_kptm.train.parallel.processes import all_gather_object
from mm_kptm.train.protocol import BatchT, Source


class Task(nn.Module, ABC, Generic[BatchT]):
    """A system with a task's head, loss, measures and predictions.

    A subclass with a ``name`` is in the catalogue if it is defined in a module of this package, or in a module that an
    installed plug-in names in the entry point group ``mm_kptm.tasks``.
    """

    name: ClassVar[str]  #: name in experiment files
    needs: ClassVar[frozenset[str]]  #: required input streams
    single_inputs: ClassVar[bool] = True  #: whether batches have ``inputs``, which auxiliary objectives need

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system

    @abstractmethod
    def loss(self, batch: BatchT) -> Tensor:
        """The mean loss over the examples of the batch, a scalar."""

    @abstractmethod
    def measure(self, batch: BatchT) -> dict[str, Tensor]:
        """Named measures, one number per example, each [B] in the order of the batch."""

    @abstractmethod
    def predict(self, batch: BatchT) -> list[Row]:
        """Prediction rows of the batch, in its order."""

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Official metrics that are no mean over examples, from all predictions together; none by default.

        Args:
            rows: of examples with a gold answer, at least one.
        """
        return {}

    def unseen_labels(self, rows: Sequence[Row]) -> Mapping[str, int]:
        """How many examples have each gold label that training never saw, so that no answer is right; none by default.

        Args:
            rows: of examples with a gold answer.
        """
        return {}

    def inputs_of_row(self, source: Source[BatchT], number: int, row: Row) -> RowInputs:
        """The example behind the ``number``-th of :meth:`predictions`, for people to look at.

        It is found by its id among ``source.about``; tasks whose sources or lines are of another kind override this.
        """
        known = getattr(source, "about", ())
        index = next((at for at in (number, *range(len(known))) if at < len(known) and _is_of(row, known[at])), None)
        if index is None:
            return RowInputs()
        inputs = getattr(source.batch([index], seeded(0, index)), "inputs", None)
        return RowInputs(index, (inputs,) if isinstance(inputs, Inputs) else ())

    def signatures(self, rows: Sequence[Row]) -> dict[str, str]:
        """What else another laboratory needs to get the scores of :meth:`summary`, by score; nothing by default."""
        return {}

    @property
    def per_example(self) -> bool:
        """Whether the prediction of an example depends on no other one, as in a ranking."""
        return type(self).predictions is Task.predictions

    @torch.no_grad()
    def predictions(self, source: Source[BatchT], *, batch_size: int = 64, seed: int = 0) -> Sequence[Row]:
        """Prediction rows of a source, in its order; several processes share the work."""
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        orders = in_order([source.length(index) for index in range(len(source))], batch_size)
        lines: dict[int, bytes] = {}
        training = self.training
        self.eval()
        try:
            for number, indices in shard_batches(orders):
                batch = source.batch(indices, seeded(seed, number)).to(device)
                lines |= zip(indices, map(stored, self.predict(batch)), strict=True)
        finally:
            self.train(training)
        for others in all_gather_object(lines):
            lines |= others
        return StoredRows.of_lines([lines[index] for index in range(len(source))])


def _is_of(row: Row, about: Example) -> bool:
    """Whether a line of the predictions is of an example, or of one of its parts."""
    name = str(row["id"])
    return name == about.id or name.startswith((f"{about.id}-", f"{about.id}/"))


def write_predictions(rows: Iterable[Row], path: Path) -> None:
    """Write one JSON object per line, atomically.

    Raises:
        UserError: the file cannot be written.
    """
    write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))


@discovered
def catalogue() -> dict[str, type[Task]]:
    """Every task by name, in alphabetical order.

    Raises:
        UserError: two tasks share a name.
    """
    classes = [
        (module.__name__, value)
        for room in ("tasks", "datasets")
        for module in modules(room)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Task) and hasattr(value, "name")
    ]
    return by_name(classes, "tasks")


def find(name: str) -> type[Task]:
    """The task of that name.

    Raises:
        UserError: there is none; similar names are listed.
    """
    tasks = catalogue()
    if name not in tasks:
        raise UserError(f"no task is called {name!r}{nearest(name, tasks)}")
    return tasks[name]


def check_fit(task: type[Task], recipe: Recipe) -> None:
    """Reject a system that does not read the input streams of a task; called before any file is opened.

    Raises:
        UserError: a stream is not read; the message lists the recipes that read all of them.
    """
    lacking = task.needs - recipe.reads
    if lacking:
        able = [name for name, other in recipes().items() if task.needs <= other.reads]
        raise UserError(
            f"the task {task.name} shows {_listed(task.needs)}, but {recipe.name} does not read {_listed(lacking)}; "
            f"systems that do: {', '.join(able) or 'none'}"
        )


def check_vocabulary(
    system: System, pieces: int | None, weights: object = None, tokenizer: Callable[[], Tokenizer] | None = None
) -> None:
    """Reject a vocabulary that does not match the word embeddings of a system.

    The word table may have a few more rows than the vocabulary has pieces, from padding or added tokens.

    Args:
        system: the encoder with its heads.
        pieces: size of the data's vocabulary; None without text.
        weights: the file that the weights were loaded from; None: they are fresh.
        tokenizer: opens the data's tokenizer.

    Raises:
        UserError: some pieces have no row; or the weights are loaded, and more than a tenth of the rows have no piece
            or most pieces are others than those of the tokenizer beside the weights.
    """
    loaded = weights is not None
    rows = system.sizes.get("vocab_size")
    if pieces is None or rows is None:
        return
    if pieces > rows or (loaded and pieces < 0.9 * rows):
        trained = "name the tokenizer that its weights were trained with"
        remedy = trained if loaded else "leave encoder.sizes.vocab_size out"
        raise UserError(
            f"the vocabulary of the data has {pieces} pieces, but {system.recipe} has vectors of {rows}; {remedy}"
        )
    if loaded and tokenizer is not None and system.has_tokenizer:
        _check_pieces(system.tokenizer.pieces.vocabulary, tokenizer().vocabulary, weights)


def _check_pieces(trained: Sequence[str], pieces: Sequence[str], weights: object) -> None:
    """Half of them may differ: libraries spell ends of words differently, and files have tokens of their own."""
    both = [(one, other) for one, other in zip(trained, pieces, strict=False) if one and other]
    differ = [number for number, (one, other) in enumerate(both) if _bare(one) != _bare(other)]
    if len(differ) > len(both) / 2:
        one, other = both[differ[0]]
        raise UserError(
            f"the vocabulary of the data is not that of {weights}: {len(differ)} of {len(both)} pieces have other "
            f"numbers, such as {one!r}, in the place of which it has {other!r}; name the tokenizer that the weights "
            "were trained with"
        )


def _bare(piece: str) -> str:
    return piece.removesuffix("</w>").removesuffix("@@").removeprefix("##").lstrip("▁Ġ").lower()


def _listed(streams: frozenset[str]) -> str:
    *others, last = sorted(streams)
    return f"{', '.join(others)} and {last}" if others else last
