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
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ANSWERS = ("yes", "no", "red", "two")


@dataclass(frozen=True)
class FileCase:
    """A file of some size and what is done with it."""

    lines: Callable[[random.Random], Iterator[str]]  #: without end, cut at the size
    name: str  #: of the file
    command: tuple[str, ...]  #: words for ``mm-kptm``; ``FILE`` stands for the file, ``RUN`` for a run that tests on it
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


def _answered(dice: random.Random) -> Iterator[str]:
    number = 0
    while number := number + 1:
        people = [{"answer": dice.choice(ANSWERS), "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
        about = {"question_type": "what is", "multiple_choice_answer": "yes", "answer_type": "other"}
        yield json.dumps({**about, "answers": people, "image_id": number // 3, "question_id": number})


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


EXPERIMENT = """\
name: run
out: {folder}
task: sentence-classification
encoder: {{recipe: bert-base, sizes: {{dim: 8, num_heads: 2, num_layers: 1, ffn_dim: 8, max_positions: 32}}}}
data: {{name: custom-text, train: {folder}/train.jsonl, test: {file}, vocabulary: {folder}/vocab.txt, max_length: 32}}
train: {{steps: 1, batch_size: 64}}
"""


def trained_on(file: Path) -> Path:
    """A run beside a file that is its split ``test``."""
    from mm_kptm import fit

    folder = file.parent
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *(f"word{number}" for number in range(5000))]))
    lines = _classified(random.Random(1))
    (folder / "train.jsonl").write_text("".join(f"{next(lines)}\n" for _ in range(64)))
    (folder / "run.yaml").write_text(EXPERIMENT.format(folder=folder, file=file))
    return fit(folder / "run.yaml", progress=False).folder


CASES: dict[str, FileCase] = {
    "validate-jsonl": FileCase(_classified, "a.jsonl", _validate("sentence-classification"), 3),
    "validate-pairs": FileCase(_pairs, "a.jsonl", _validate("entailment"), 3),
    "validate-words": FileCase(_tagged, "a.jsonl", _validate("named-entities"), 3),
    "validate-csv": FileCase(_cells, "a.csv", _validate("sentence-classification"), 3),
    "validate-json": FileCase(_pairs, "a.json", _validate("entailment"), 3, "[", "]"),
    "validate-vqa-v2": FileCase(
        _asked, "a.json", _validate("vqa", "--format", "vqa-v2"), 3, '{"info": {}, "questions": [', "]}"
    ),
    "vqa-v2-annotations": FileCase(_answered, "a.json", ("vqa-v2", "FILE"), 4, '{"annotations": [', "]}"),
    "predict": FileCase(_classified, "a.jsonl", ("predict", "RUN", "--input", "FILE", "--out", "/dev/null"), 3),
    "evaluate": FileCase(_classified, "a.jsonl", ("evaluate", "RUN"), 12),
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
    before = resident("VmRSS")
    forget_peak()
    work()
    result.send(resident("VmHWM") - before)


def forget_peak() -> None:
    """Let the peak of this process' resident memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def resident(what: str) -> int:
    """Bytes of resident memory of this process: those of now, VmRSS, or their peak, VmHWM."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def measured(name: str, size: int) -> tuple[int, int]:
    """Bytes of the file of a case, and the peak over them."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        _work_of(case, case.write(Path(folder) / "small", 10_000))()  # imports what it needs
        file = case.write(Path(folder) / "large", size)
        work = _work_of(case, file)
        return file.stat().st_size, peak(work)


def _work_of(case: FileCase, file: Path) -> Callable[[], object]:
    """What a case does with its file, all that it needs besides being made."""
    from mm_kptm.cli import main
    from mm_kptm.data.formats.vqa_v2 import read_vqa_annotations

    if case.command[0] == "vqa-v2":  # no verb reads them without pictures
        return lambda: read_vqa_annotations(file)
    given = {"FILE": str(file), "RUN": str(trained_on(file)) if "RUN" in case.command else ""}

    def run() -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            code = main([given.get(word, word) for word in case.command])
        if code:
            raise RuntimeError(f"{case.command[0]} failed")

    return run


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
