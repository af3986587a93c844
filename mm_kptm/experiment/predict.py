"""Predictions of a trained run on a split or on a file, and submission files for evaluation servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mm_kptm.datasets.protocol import FileReader
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.coverage import Coverage, announce, coverage_of, gives_facts
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.settings import Experiment
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.protocol import Task, write_predictions
from mm_kptm.tasks.stored_rows import StoredRows
from mm_kptm.train.parallel.processes import is_main_process, start
from mm_kptm.train.protocol import module_of

PART = 4096  #: examples of a file that are predicted together


def predict(run: Path, *, split: str = "test", file: Path | None = None) -> Sequence[Row]:
    """Predict with a run's last checkpoint on a split, or on a file in the format of its data.

    Several processes share the work, and all get the rows; the first one writes.

    Args:
        run: run folder.
        split: predictions are also written to ``predictions/<split>.jsonl`` of the run.
        file: examples, answers optional; used instead of the split.

    Raises:
        UserError: the folder is no run of a task, there is no such split, or the file has another format.
    """
    if file is not None:
        return StoredRows(each_prediction(run, file))
    settings, built, task = _task_of(run)
    rows = task.predictions(built.source(split), batch_size=settings.train.batch_size)
    if is_main_process():
        write_predictions(rows, run / "predictions" / f"{split}.jsonl")
    return rows


def each_prediction(run: Path, file: Path) -> Iterator[Row]:
    """Iterate over the predictions on a file, in its order; of most tasks, :data:`PART` examples are held at a time.

    Args:
        run: run folder.
        file: examples in the format of the run's data, answers optional.

    Raises:
        UserError: the folder is no run of a task, or the file has another format; before the first prediction, unless
            the encoding of an example finds it.
    """
    settings, built, task = _task_of(run)
    read = built.prepared.read_file
    if read is None:
        raise UserError(
            f"{run} was trained on {settings.data.name}, which is read from no file of one split; "
            f"predict one of its splits: {', '.join(built.prepared.sources)}"
        )
    covered: Coverage | None = None
    for source in read.parts(file, PART) if isinstance(read, FileReader) and task.per_example else (read(file),):
        if gives_facts(settings, built.prepared) and (found := coverage_of(source)) is not None:
            covered = found if covered is None else covered + found
        yield from task.predictions(source, batch_size=settings.train.batch_size)
    if covered is not None:
        announce(settings.name, {file.name: covered}, None)  # a file without known names is no error


def submit(run: Path, *, split: str = "test", folder: Path | None = None) -> Sequence[Path]:
    """Write the submission files of the official evaluation and validate them by reading them back.

    Several processes share the work; the first one writes, and the others return nothing.

    Args:
        run: run folder.
        split: split to predict.
        folder: output folder; default ``submission`` inside the run.

    Raises:
        UserError: the folder is no run of a task, its data have no official file, or there is no such split.
    """
    settings, built, task = _task_of(run)
    if built.prepared.submit is None:
        raise UserError(
            f"{run} was trained on {settings.data.name}, whose answers no server takes; `mm-kptm predict` writes them"
        )
    rows = task.predictions(built.source(split), batch_size=settings.train.batch_size)
    folder = run / "submission" if folder is None else folder
    if not is_main_process():
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    return built.prepared.submit(split, rows, folder)


def check_submission(run: Path, file: Path, *, split: str = "test") -> None:
    """Read a file that somebody wrote for the official evaluation of a split, as :func:`submit` does with its own.

    Args:
        run: run folder, whose data have the questions.
        file: such as ``vqa-v2-test.json``.
        split: that the file answers.

    Raises:
        UserError: a question is missing, foreign or there twice, or an answer is of another kind; or the data have no
            official file, or no such split.
    """
    settings, built, _ = _task_of(run)
    if built.prepared.check is None:
        raise UserError(f"{run} was trained on {settings.data.name}, whose official files cannot be checked here")
    if split not in built.prepared.sources:
        raise UserError(f"these data have no split {split!r}; there are {', '.join(built.prepared.sources)}")
    built.prepared.check(split, file)


def _task_of(run: Path) -> tuple[Experiment, Built, Task]:
    device = start()
    settings, built = opened(run)
    module_of(built.model).to(device)
    if built.task is None:
        raise UserError(f"{run} pretrained without a task and answers nothing; predict a run that has one")
    return settings, built, built.task
