"""Reader of SQuAD's JSON, and of the files of XQuAD, MLQA and TyDi QA, which have its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Record, each_entry, once
from mm_kptm.io.text_lines import is_blank

#: Languages in names of files: ``test-context-de-question-en.json``, ``xquad.de.json``, ``tydiqa.goldp.fi.dev.json``.
_NAMED = (
    re.compile(r"context-(?P<context>[a-z]{2,3})-question-(?P<question>[a-z]{2,3})\.json$"),
    re.compile(r"^(?:xquad|squad|mlqa|tydiqa\.goldp)[.-](?P<context>[a-z]{2,3})(?:[.-][a-z]+)?\.json$"),
    re.compile(r"^(?:train|dev|test)-(?P<context>[a-z]{2,3})\.json$"),
)
#: Languages of XTREME's machine translations, ``squad.translate.train.en-de.json``; the one that is not English counts.
_TRANSLATED = re.compile(r"translate.*\.([a-z]{2,3})-([a-z]{2,3})\.json$")
#: TyDi QA's ids of questions begin with the name of their language.
_BY_NAME = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "japanese": "ja",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
    "thai": "th",
}


@dataclass(frozen=True)
class AnswerSpan:
    """A gold answer; ``start`` is None where the passage does not hold it at the place that the file says."""

    text: str
    start: int | None  #: first character in the passage


@dataclass(frozen=True)
class PassageQuestion:
    """A question about a passage that holds its answer."""

    id: str
    question: str
    passage: str
    answers: tuple[AnswerSpan, ...]  #: empty where the file has none
    language: str  #: of the passage and the answer
    question_language: str
    group: str  #: shared by the questions about one passage


@collected
def read_squad(path: str | Path, *, language: str | None = None) -> Iterator[PassageQuestion]:
    """The questions of a file.

    The languages are those that the name of the file says (``xquad.de.json``, ``test-context-de-question-en.json``, or
    ``squad.translate.train.en-de.json``), or
    the name at the beginning of a question's id (``finnish-12-0`` in TyDi QA), or ``language``.

    Args:
        path: a JSON file with ``data``, ``paragraphs`` and ``qas``.
        language: of files that name none.

    Raises:
        UserError: the file cannot be read or has another form; an id is there twice; nothing names the language.
    """
    spoken = _languages(Path(path).name)
    seen: dict[str, str] = {}
    for article in each_entry(path, "data"):
        for paragraph in article.records("paragraphs", allow_none=True):
            passage, group = paragraph.get("context", str), f"passage-{len(seen)}"
            for asked in paragraph.records("qas", allow_none=True):
                id_ = asked.text("id")
                once(id_, asked.place, seen, "the question")
                of_passage, of_question = spoken or _spoken(id_, language, asked.place)
                answers = tuple(
                    _span(answer, passage)
                    for answer in asked.records("answers", allow_none=True)
                    if answer.text("text").strip()
                )
                question = asked.get("question", str).strip()
                if is_blank(question) or is_blank(passage):
                    raise UserError(f"{asked.place} has an empty question or passage; both must hold text")
                yield PassageQuestion(id_, question, passage, answers, of_passage, of_question, group)
    if not seen:
        raise UserError(f"{path} holds no question; at least one was expected")


def _span(answer: Record, passage: str) -> AnswerSpan:
    text = answer.text("text")
    start = answer.values.get("answer_start")
    there = isinstance(start, int) and start >= 0 and passage[start : start + len(text)] == text
    return AnswerSpan(text, start if there and isinstance(start, int) else None)


def _languages(name: str) -> tuple[str, str] | None:
    if found := _TRANSLATED.search(name):
        return (found[1], found[1]) if found[2] == "en" else (found[2], found[2])
    for pattern in _NAMED:
        if found := pattern.search(name):
            groups = found.groupdict()
            return groups["context"], groups.get("question") or groups["context"]
    return None


def _spoken(id_: str, language: str | None, place: str) -> tuple[str, str]:
    named = _BY_NAME.get(id_.split("-")[0], language)
    if named is None:
        raise UserError(
            f"{place}: nothing names the language of question {id_}; call the file xquad.de.json or train-en.json, say"
        )
    return named, named
