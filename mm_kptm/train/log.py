"""Training log: ``metrics.jsonl``, TensorBoard events and a progress line on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Self, TextIO

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_text, writing
from mm_kptm.io.records import read_line
from mm_kptm.io.text_lines import read_text
from mm_kptm.train.trackers import Trackers

METRICS = "metrics.jsonl"
QUIET_SECONDS = 5.0  #: between two progress lines without a terminal


class Metrics:
    """Metrics file: one JSON object per line, flushed at once.

    A resumed run passes the step of its checkpoint: later lines and a truncated last line are removed first, so that
    no step is logged twice.
    """

    def __init__(self, run: Path, *, after: int) -> None:
        file = run / METRICS
        if file.exists():
            lines = read_text(file, "one JSON object a line", allow_empty=True).split("\n")
            # the last line ends without a newline only if a process was killed while it wrote it
            write_text(file, "".join(line + "\n" for line in lines[:-1] if _belongs(line, after)))
        with writing(file):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._path, self._file = file, open(descriptor, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(self, step: int, split: str, values: Mapping[str, float | int]) -> None:
        """Append a line; NaN and infinity become null, since JSON has neither."""
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self._path):
            self._file.write(json.dumps({"step": step, "split": split, **plain}) + "\n")
            os.fsync(self._file.fileno())  # a checkpoint that is on disk has its lines there

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()


class Events:
    """Events of TensorBoard, in the folder ``events`` of a run.

    A thread of TensorBoard writes them. Where it fails, the next call raises its exception, so it need not print it.
    """

    def __init__(self, run: Path, *, purge_step: int) -> None:
        self._path = run / "events"
        self._excepthook, threading.excepthook = threading.excepthook, self._fails
        with writing(self._path):
            self._writer = SummaryWriter(str(self._path), purge_step=purge_step)

    def write(self, step: int, split: str, values: Mapping[str, float | int]) -> None:
        """Add the values of a step; they reach the file a little later."""
        with writing(self._path):
            for name, value in values.items():
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            with writing(self._path):
                self._writer.close()
        finally:
            threading.excepthook = self._excepthook

    def _fails(self, failure: threading.ExceptHookArgs) -> None:
        if not (type(failure.thread).__module__.startswith("tensorboard") and isinstance(failure.exc_value, OSError)):
            self._excepthook(failure)


class Progress:
    """Progress on standard error: a live line with an ETA on a terminal, a plain line every few seconds elsewhere."""

    def __init__(self, label: str, *, steps: int, start: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._steps = steps
        self._start = start
        self._step = start
        self._stream = sys.stderr if stream is None else stream
        self._began = self._spoke = time.monotonic()
        self._note = ""
        self._bar: tqdm[NoReturn] | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=steps, initial=start, desc=label, unit="step", file=self._stream, dynamic_ncols=True, leave=True
            )

    def step(self) -> None:
        """Count a finished step."""
        self._step += 1
        if self._bar is not None:
            self._bar.update()
        elif self._step == self._steps or time.monotonic() - self._spoke >= QUIET_SECONDS:
            self._spoke = time.monotonic()
            self._stream.write(f"{self._label} {self._step}/{self._steps}{self._note}, {self._left()}\n")
            self._stream.flush()

    def note(self, *, loss: float, rows_per_s: float) -> None:
        """Set the values shown beside the step."""
        self._note = f", loss {loss:.4g}, {rows_per_s:,.0f} rows/s"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}, {rows_per_s:,.0f} rows/s", refresh=False)

    def say(self, text: str, *, step: int | None = None) -> None:
        """Print a line about a step, the last finished one if none is given; above the live line on a terminal."""
        line = f"{self._label} {self._step if step is None else step}/{self._steps} {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """End the progress line."""
        if self._bar is not None:
            self._bar.close()

    def _left(self) -> str:
        took = time.monotonic() - self._began
        if self._step == self._steps:
            return f"done in {took:.0f} s"
        return f"about {took / (self._step - self._start) * (self._steps - self._step):.0f} s left"


class Log:
    """Metrics, TensorBoard, trackers and progress; silent unless ``speaking`` (in all processes but the first).

    Args:
        run: run folder.
        label: name of the run in the progress line.
        steps: length of the run.
        start: last step of the checkpoint that it goes on from.
        speaking: whether anything is written.
        progress: whether progress is shown.
        trackers: opens the trackers, if any.
    """

    def __init__(
        self,
        run: Path,
        *,
        label: str,
        steps: int,
        start: int,
        speaking: bool,
        progress: bool,
        trackers: Callable[[], Trackers] | None = None,
    ) -> None:
        self._metrics = Metrics(run, after=start) if speaking else None
        # TensorBoard purges the events of repeated steps itself
        self._events = Events(run, purge_step=start + 1) if speaking else None
        self._trackers = trackers() if speaking and trackers is not None else None
        self._progress = Progress(label, steps=steps, start=start) if speaking and progress else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self._progress, self._metrics, self._events, self._trackers):
            if part is not None:
                part.close()

    def step(self) -> None:
        """Count a finished step."""
        if self._progress is not None:
            self._progress.step()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        if self._progress is not None:
            self._progress.say(text)

    def measures(self, step: int, split: str, values: Mapping[str, float | int]) -> None:
        """Log the measures of ``split`` after ``step``; those of an evaluation are printed too."""
        if self._metrics is not None:
            self._metrics.write(step, split, values)
        if self._events is not None:
            self._events.write(step, split, values)
        if self._trackers is not None:
            self._trackers.log(step, split, values)
        if self._progress is not None and "rows_per_s" in values:
            self._progress.note(loss=values["loss"], rows_per_s=values["rows_per_s"])
        elif self._progress is not None:
            scores = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "n")
            self._progress.say(f"{split}: {scores or 'no example has a gold answer'}", step=step)


def _belongs(line: str, after: int) -> bool:
    """Whether a line is of a step that the checkpoint includes."""
    try:
        return read_line(line, METRICS).count("step") <= after
    except UserError:
        return False
