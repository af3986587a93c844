"""Vocabularies of answers: those of the training questions, or a published list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import Json, read_json
from mm_kptm.io.text_lines import read_text


def answer_choices(
    usual: Iterable[str], *, min_count: int, listed: Path | None = None, option: str = "data.answers"
) -> tuple[str, ...]:
    """Answers to choose from, most common first; those of a list in its order.

    Args:
        usual: the answer of every training question.
        min_count: an answer is learnt when it is that of so many questions.
        listed: a file of answers, one a line or a JSON list (or an object, by place); None to count the training ones.
        option: name of the setting that holds ``listed``.

    Raises:
        UserError: fewer than two answers, or no training answer is in the list.
    """
    counts = Counter(usual)
    if listed is None:
        found = tuple(
            answer for _, answer in sorted((-count, one) for one, count in counts.items() if count >= min_count)
        )
        if len(found) < 2:
            raise UserError(
                f"{len(found)} answers are that of {min_count} or more of the {counts.total()} training questions, but "
                "there must be two at least to choose from; give more questions or a smaller data.min_count"
            )
        return found
    found = read_answers(listed)
    if counts and not counts.keys() & set(found):
        first = next(iter(counts))
        raise UserError(
            f"none of the {len(counts)} answers of training questions, such as {first!r}, is one of the {len(found)}"
            f" of {option} ({listed}); name the list of this data set, or leave it out"
        )
    return found


def read_answers(path: Path) -> tuple[str, ...]:
    """Answers of a file: one a line, a JSON list, or a JSON object from place to answer or from answer to place.

    The entries of a list may be objects with the answer under ``ans``, as in LXMERT's ``all_ans.json``.

    Raises:
        UserError: the file cannot be read, has another form, or fewer than two answers.
    """
    if path.suffix != ".json":
        found = [line.strip() for line in read_text(path, "a list of answers").splitlines() if line.strip()]
    else:
        found = _of_json(read_json(path), path)
    different = len(set(found))
    if different < 2 or different != len(found):
        raise UserError(
            f"{path} must hold two answers at least, each once, but it has {len(found)}, of which {different} differ"
        )
    return tuple(found)


def _of_json(whole: Json, path: Path) -> list[str]:
    """The answers of a list, or of an object in the order of their places."""
    if isinstance(whole, list) and all(isinstance(one, str) for one in whole):
        return [str(one) for one in whole]
    if isinstance(whole, list) and all(isinstance(one, dict) and isinstance(one.get("ans"), str) for one in whole):
        return [str(one["ans"]) for one in whole if isinstance(one, dict)]  # LXMERT's all_ans.json
    if isinstance(whole, dict) and all(isinstance(one, int) for one in whole.values()):
        return sorted(whole, key=lambda answer: int(str(whole[answer])))
    if isinstance(whole, dict) and all(place.isdecimal() for place in whole):
        return [str(whole[place]) for place in sorted(whole, key=int)]
    raise UserError(f"{path} must hold a list of answers, or an object of answers and their places")
