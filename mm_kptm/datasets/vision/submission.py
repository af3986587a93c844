"""Answer files of evaluation servers: a list of objects with one key for the question and one for the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import read_listed


def write_answers(path: str | Path, answers: Iterable[tuple[str | int, str | float]], *, keys: tuple[str, str]) -> None:
    """Write ``[{key of the question: .., key of the answer: ..}, ...]``."""
    asked, answered = keys
    write_json(path, [{asked: id_, answered: answer} for id_, answer in answers], ascii_only=True)


def check_answers(
    path: str | Path, asked: Iterable[str | int], *, keys: tuple[str, str], kind: type[str] | type[float] = str
) -> None:
    """Reject a file that a server would reject or score wrongly.

    Args:
        path: the file.
        asked: ids of the questions of the split.
        keys: of question and answer.
        kind: of the answers: texts, or numbers between 0 and 1.

    Raises:
        UserError: an entry without the two keys, an answer of another kind, or a question that is missing, foreign or
            there twice.
    """
    expected: Sequence[str] = [str(id_) for id_ in asked]
    known, seen = set(expected), set[str]()
    for entry in read_listed(path):
        if set(entry.values) != set(keys):
            raise UserError(f"{entry.place} must have the fields {' and '.join(keys)} and no other")
        id_ = entry.name(keys[0])
        if kind is str:
            entry.get(keys[1], str)
        else:
            entry.share(keys[1])
        if id_ not in known or id_ in seen:
            wrong = "was answered before" if id_ in seen else "is not one of the split"
            raise UserError(f"{entry.place}: {keys[0]} {id_} {wrong}")
        seen.add(id_)
    missing = [id_ for id_ in expected if id_ not in seen]
    if missing:
        raise UserError(f"{path} has no answer to {len(missing)} questions, the first of them {missing[0]}")
