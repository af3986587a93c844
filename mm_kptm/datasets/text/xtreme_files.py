"""Files of a submission to XTREME (Hu et al. 2020): what is written for each language, and what a server would refuse.

A submission is a folder with one folder per task in it, ``xnli/test-de.tsv`` or ``xquad/test-de.json``.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mm_kptm.data.formats.xnli import SentencePair
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_lines, write_text
from mm_kptm.io.records import one_of, parse_json, shown
from mm_kptm.io.text_lines import compression, is_file, read_text
from mm_kptm.tasks.example import Row


class Expected(Protocol):
    """What the file of one language must hold."""

    @property
    def ending(self) -> str:
        """Ending of the file's name."""

    def check(self, path: Path) -> None:
        """Refuse a file that the evaluation would refuse or score wrongly; ``UserError`` names it and the line."""


@dataclass(frozen=True)
class Lines:
    """One answer a line, in the order of the examples: a label, or the row of a sentence."""

    count: int
    allowed: Collection[str]
    what: str = "examples"
    ending: str = ".tsv"

    def check(self, path: Path) -> None:
        lines = _lines(path, "a file of one answer a line")
        for number, line in enumerate(lines[: self.count], 1):
            _allowed(line, self.allowed, f"{path}, line {number}")
        if len(lines) != self.count:
            which = "is missing" if len(lines) < self.count else "is one too many"
            raise UserError(
                f"{path}, line {min(len(lines), self.count) + 1} {which}: the file has {len(lines)} lines, but there "
                f"are {self.count} {self.what}"
            )


@dataclass(frozen=True)
class TagLines:
    """One tag a line, in the order of the words, and an empty line between two sentences."""

    lengths: tuple[int, ...]  #: words of every sentence
    allowed: Collection[str]
    ending: str = ".tsv"

    def check(self, path: Path) -> None:
        sentences: list[list[str]] = [[]]
        firsts = [1]
        for number, line in enumerate(_lines(path, "a file of one tag a line"), 1):
            if line.strip():
                sentences[-1].append(_allowed(line, self.allowed, f"{path}, line {number}"))
            else:
                sentences.append([])
                firsts.append(number + 1)
        while sentences and not sentences[-1]:
            sentences.pop()
        for number, (tags, length) in enumerate(zip(sentences, self.lengths, strict=False)):
            if len(tags) != length:
                raise UserError(
                    f"{path}, line {firsts[number]}: sentence {number + 1} has {len(tags)} tags, but {length} words"
                )
        there, asked = len(sentences), len(self.lengths)
        if there != asked:
            end = firsts[there - 1] + len(sentences[-1]) if sentences else 1
            first = firsts[asked] if there > asked else end
            which = "is missing" if there < asked else "is one too many"
            raise UserError(
                f"{path}, line {first}: sentence {min(there, asked) + 1} {which}; the file has {there} sentences, but "
                f"there are {asked}"
            )


@dataclass(frozen=True)
class AnswerTexts:
    """A JSON object from the id of every question to its answer."""

    ids: frozenset[str]
    ending: str = ".json"

    def check(self, path: Path) -> None:
        text = _text(path, "a JSON file")
        answers = parse_json(text, str(path))
        if not isinstance(answers, dict):
            raise UserError(f"{path}, line 1 must begin one object from ids to answers, but it is {shown(answers)}")
        for id_, answer in answers.items():
            place = f"{path}, line {_line_of(text, id_)}"
            if id_ not in self.ids:
                count = len(answers.keys() - self.ids)
                raise UserError(f"{place} answers {id_}, which is not asked; {count} such questions are in the file")
            if not isinstance(answer, str):
                raise UserError(f"{place}: the answer to {id_} must be a text, but it is {shown(answer)}")
        if missing := sorted(self.ids - answers.keys()):
            end = text.rstrip().count("\n") + 1
            raise UserError(
                f"{path} ends at line {end} and has no answer to {len(missing)} questions, {missing[0]} among them"
            )


@dataclass(frozen=True)
class PairLines:
    """The ids of a source and of a target sentence with a tab between them, one pair a line."""

    sources: frozenset[str]
    targets: frozenset[str]
    allow_empty: bool = False  #: whether there may be no pair at all
    ending: str = ".tsv"

    def check(self, path: Path) -> None:
        seen: dict[str, int] = {}
        for number, line in enumerate(_lines(path, "a file of one pair a line", allow_empty=self.allow_empty), 1):
            place, cells = f"{path}, line {number}", line.split("\t")
            if len(cells) != 2:
                raise UserError(f"{place} must hold two ids with a tab between them, but it is {shown(line)}")
            for cell, known in zip(cells, (self.sources, self.targets), strict=True):
                if cell not in known:
                    raise UserError(f"{place} names sentence {cell}, but no such sentence is in the data")
            if (first := seen.setdefault(line, number)) != number:
                raise UserError(f"{place} repeats the pair of line {first}")


def check_files(folder: Path, task: str, split: str, expected: Mapping[str, Expected]) -> None:
    """Refuse the files of a task, one per language.

    Raises:
        UserError: a file is missing or holds another thing than expected; the first is named.
    """
    for language, one in sorted(expected.items()):
        one.check(folder / task / f"{split}-{language}{one.ending}")


def expected_labels(asked: Iterable[SentencePair], labels: Sequence[str]) -> dict[str, Lines]:
    """A label for each of some pairs of sentences, by language."""
    counts = Counter(pair.language for pair in asked)
    return {language: Lines(count, labels, f"pairs in {language!r}") for language, count in counts.items()}


def write_answers(rows: Sequence[Row], folder: Path, task: str, split: str) -> list[Path]:
    """One answer a line, ``task/split-de.tsv``, in the order of the rows of that language."""
    return _each(folder, task, split, {language: [str(row["answer"]) for row in some] for language, some in _by(rows)})


def write_answer_texts(rows: Sequence[Row], folder: Path, task: str, split: str) -> list[Path]:
    """A JSON object from ids to answers, ``task/split-de.json``."""
    files = []
    for language, some in _by(rows):
        files.append(folder / task / f"{split}-{language}.json")
        answers = {str(row["id"]): str(row["answer"]) for row in some}
        write_text(files[-1], json.dumps(answers, ensure_ascii=False, indent=1) + "\n")
    return files


def write_lines_of(answers: Mapping[str, Iterable[str]], folder: Path, task: str, split: str) -> list[Path]:
    """Lines of each language, ``task/split-de.tsv``."""
    return _each(folder, task, split, answers)


def _each(folder: Path, task: str, split: str, lines: Mapping[str, Iterable[str]]) -> list[Path]:
    files = []
    for language, some in sorted(lines.items()):
        files.append(folder / task / f"{split}-{language}.tsv")
        write_lines(files[-1], some)
    return files


def _by(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row["language"])].append(row)
    return sorted(found.items())


def _lines(path: Path, what: str, *, allow_empty: bool = False) -> list[str]:
    text = _text(path, what, allow_empty=allow_empty).removesuffix("\n")
    return text.split("\n") if text else []


def _text(path: Path, what: str, *, allow_empty: bool = False) -> str:
    """The text of a file that the evaluation, too, can read: it unpacks nothing and knows no byte order mark."""
    if is_file(path):
        with path.open("rb") as file:
            head = file.read(len(codecs.BOM_UTF8))
        if head == codecs.BOM_UTF8:
            raise UserError(
                f"{path}, line 1 begins with a byte order mark, which the evaluation takes for text; save the file as "
                "UTF-8 without one"
            )
        if packed := compression(path):
            raise UserError(f"{path} is packed by {packed}, but the evaluation reads plain text; unpack it")
    return read_text(path, what, allow_empty=allow_empty)


def _line_of(text: str, key: str) -> int:
    """The line of a key of a JSON text, as either way of writing it has it; 1 where it is written in another."""
    spellings = {json.dumps(key, ensure_ascii=plain) for plain in (False, True)}
    found = re.search(rf"(?:{'|'.join(map(re.escape, spellings))})\s*:", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _allowed(line: str, allowed: Collection[str], place: str) -> str:
    if len(allowed) <= 20:
        return one_of(line, list(allowed), place)
    if line not in allowed:
        raise UserError(f"{place} must be a row from 0 to {len(allowed) - 1}, but it is {shown(line)}")
    return line
