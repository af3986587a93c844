"""Memory of reading files against their size: ``python -m benchmarks.file_memory [CASE ...] [--megabytes N]``.

Each case makes a file, then a forked process that has imported everything reads it; printed is how far the resident
memory of that process rose, as a multiple of the size of the file. Linux alone tells the peak of a process.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 10**6


@dataclass(frozen=True)
class FileCase:
    """A file of some size and what is done with it."""

    lines: Callable[[random.Random], Iterator[str]]  #: without end, cut at the size
    name: str  #: of the file
    command: tuple[str, ...]  #: words for ``mm-kptm``; ``FILE`` stands for the file
    bar: float  #: most bytes of memory a byte of the file
    start: str = ""
    end: str = ""  #: takes the place of the separator of the last line

    def write(self, folder: Path, size: int) -> Path:
        """Write the file; returns its path."""
        folder.mkdir(exist_ok=True)
        path, dice, separator = folder / self.name, random.Random(0), "," if self.end else ""
        lines = self.lines(dice)
        with path.open("w", encoding="utf-8") as file:
            file.write(self.start)
            file.write(next(lines))
            while file.tell() < size:
                file.writelines(f"{separator}\n{next(lines)}" for _ in range(64))
            file.write(self.end + "\n")
        return path


def _text(dice: random.Random, words: int) -> str:
    return " ".join(f"word{dice.randrange(5000)}" for _ in range(words))


def _pairs(dice: random.Random) -> Iterator[str]:
    while True:
        yield json.dumps({"premise": _text(dice, 8), "hypothesis": _text(dice, 5), "label": "neutral"})


def _classified(dice: random.Random) -> Iterator[str]:
    while True:
        yield json.dumps({"text": _text(dice, 8), "label": dice.choice("ab")})


def _cells(dice: random.Random) -> Iterator[str]:
    yield "text,label"
    while True:
        yield f"{_text(dice, 8)},{dice.choice('ab')}"


def _tagged(dice: random.Random) -> Iterator[str]:
    while True:
        yield json.dumps({"words": _text(dice, 8).split(), "tags": ["O"] * 7 + ["B-PER"]})


def _asked(dice: random.Random) -> Iterator[str]:
    number = 0
    while number := number + 1:
        yield json.dumps({"image_id": number // 3, "question": f"What is {_text(dice, 3)}?", "question_id": number})


def _triples(dice: random.Random) -> Iterator[str]:
    number = 0  # 20.6 million triples of 4.6 million entities, whose names have up to nine characters, in Wikidata5M
    while number := number + 1:
        head, tail = (10**7 + dice.randrange(1 + number * 46 // 206) for _ in range(2))
        yield f"Q{head}\tP{dice.randrange(800)}\tQ{tail}"


def _n_triples(dice: random.Random) -> Iterator[str]:
    for line in _triples(dice):
        head, relation, tail = (f"<http://example.org/{name}>" for name in line.split("\t"))
        yield f"{head} {relation} {tail} ."


def _validate(task: str, *options: str) -> tuple[str, ...]:
    return ("data", "validate", task, "FILE", *options)


CASES: dict[str, FileCase] = {
    "validate-jsonl": FileCase(_classified, "a.jsonl", _validate("sentence-classification"), 3),
    "validate-pairs": FileCase(_pairs, "a.jsonl", _validate("entailment"), 3),
    "validate-words": FileCase(_tagged, "a.jsonl", _validate("named-entities"), 3),
    "validate-csv": FileCase(_cells, "a.csv", _validate("sentence-classification"), 3),
    "validate-json": FileCase(_pairs, "a.json", _validate("entailment"), 3, "[", "]"),
    "validate-vqa-v2": FileCase(
        _asked, "a.json", _validate("vqa", "--format", "vqa-v2"), 3, '{"info": {}, "questions": [', "]}"
    ),
    "kg-info-tsv": FileCase(_triples, "a.tsv", ("kg", "info", "FILE"), 3),
    "kg-info-nt": FileCase(_n_triples, "a.nt", ("kg", "info", "FILE"), 3),
}


def peak(work: Callable[[], object]) -> int:
    """Bytes that the resident memory of a forked process rises by while it works.

    Raises:
        RuntimeError: the work failed.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, there))
    process.start()
    there.close()
    try:
        return int(here.recv())
    except EOFError:
        raise RuntimeError("the measured work failed") from None
    finally:
        process.join()


def _work(work: Callable[[], object], result: multiprocessing.connection.Connection) -> None:
    gc.collect()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        work()
    result.send(_resident("VmHWM") - before)


def _resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def measured(name: str, size: int) -> tuple[int, int]:
    """Bytes of the file of a case, and the peak over them."""
    from mm_kptm.cli import main

    case = CASES[name]

    def run(file: Path) -> None:
        if main([str(file) if word == "FILE" else word for word in case.command]):
            raise RuntimeError(f"{name} failed")

    with tempfile.TemporaryDirectory() as folder:
        small = case.write(Path(folder), 10_000)
        run(small)  # imports what it needs
        file = case.write(Path(folder), size)
        return file.stat().st_size, peak(lambda: run(file))


def main() -> None:
    """Print a line a case; ends with 1 where one misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--megabytes", type=int, default=50)
    options = parser.parse_args()
    missed = False
    for name in options.cases:
        size, rose = measured(name, options.megabytes * MEGABYTE)
        missed |= rose > CASES[name].bar * size
        print(
            f"{name}: {rose / size:.2f} times {size / MEGABYTE:.0f} MB (bar {CASES[name].bar:g}), "
            f"{rose / MEGABYTE:.0f} MB",
            flush=True,
        )
    raise SystemExit(int(missed))


if __name__ == "__main__":
    main()
