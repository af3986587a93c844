"""Readers of the files of a task by format, for checks before a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from mm_kptm.data.formats.jsonl import BY_KEY
from mm_kptm.data.formats.tables import TableColumns
from mm_kptm.datasets.protocol import data_name, task_datasets
from mm_kptm.errors import UserError
from mm_kptm.io.collected import one_by_one
from mm_kptm.tasks.protocol import find

Read = Callable[..., Sequence[object]]  #: of a path; of own files also `table`, their columns
CUSTOM = "custom"  #: the lines of custom-text and custom-image, whatever the task


def readers(task: str) -> dict[str, Read]:
    """The readers of a task's files by the name of the format, ``custom`` for lines of the user."""
    return {
        name.partition("-")[0] if name.startswith(CUSTOM + "-") else name: task_dataset.read
        for task_dataset in task_datasets()
        if task_dataset.task_name == task and task_dataset.read is not None
        for name in (data_name(task_dataset.data),)
    }


def reader(task: str, form: str = CUSTOM, table: TableColumns = BY_KEY) -> Read:
    """The reader of a task's files in one format.

    Args:
        task: its name.
        form: of the files.
        table: columns of own files by key of the schema, as ``data.columns`` and ``data.label_names`` name them.

    Raises:
        UserError: no such task, it reads no files, or none in that format; columns are named for a published format,
            whose files have theirs.
    """
    known = readers(find(task).name)
    if not known:
        raise UserError(
            f"no file of the task {task} can be checked by itself: its data make their examples, or read several files "
            "together, which `mm-kptm train` checks before it begins"
        )
    if form not in known:
        raise UserError(f"the task {task} reads no format {form!r}; it reads {', '.join(sorted(known))}")
    if table == BY_KEY:
        return known[form]
    if form != CUSTOM:
        raise UserError(f"columns are named for files of the format {form!r}, which has its own; leave them out")
    return partial(known[form], table=table)


def count_examples(read: Read, file: Path) -> int:
    """Read every example of a file, holding as few at a time as its reader can; returns how many there are.

    Raises:
        UserError: of the reader.
    """
    examples: Iterable[object] = one_by_one(read)(file)
    return sum(1 for _ in examples)
