"""Reader of GQA's questions and of the answers that are possible for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Record, each_pair, read_json


@dataclass(frozen=True)
class GqaQuestion:
    """A question of GQA (Hudson and Manning 2019); without an answer in the files of the challenge."""

    id: str
    image: str
    text: str
    answer: str | None
    balanced: bool  #: whether it belongs to the balanced set, over which accuracy is measured
    structural: str  #: query, verify, logical, choose or compare; queries are open, the others binary
    detailed: str  #: the finest of its types, such as ``objAttrQuery`` or ``twoCommon``
    group: str | None  #: questions whose answers are distributed alike
    entailed: tuple[str, ...]  #: ids of the questions that its answer answers as well


@dataclass(frozen=True)
class GqaChoices:
    """Answers that make sense for a question."""

    valid: frozenset[str]  #: in the scope of the question: a colour where it asks for one
    plausible: frozenset[str]  #: and seen of such an object at least once


@collected
def read_gqa(path: str | Path) -> Iterator[GqaQuestion]:
    """A file such as ``train_balanced_questions.json``: an object with a question under each id.

    Raises:
        UserError: the file cannot be read, or a key is missing or of another kind.
    """
    empty = True
    for id_, value in each_pair(path):
        empty = False
        yield _question(id_, Record.of(value, f"{path}, {id_}"))
    if empty:
        raise UserError(f"{path} has no question; at least one was expected")


def read_gqa_choices(path: str | Path) -> dict[str, GqaChoices]:
    """A file such as ``val_choices.json``, by question; errors as :func:`read_gqa`."""
    whole = Record.of(read_json(path), str(path))
    records = {id_: Record.of(value, f"{path}, {id_}") for id_, value in whole.values.items()}
    return {
        id_: GqaChoices(frozenset(map(str, one.get("valid", list))), frozenset(map(str, one.get("plausible", list))))
        for id_, one in records.items()
    }


def _question(id_: str, one: Record) -> GqaQuestion:
    types = Record.of(one.values.get("types") or {}, f"{one.place}, types")
    groups = Record.of(one.values.get("groups") or {}, f"{one.place}, groups")
    return GqaQuestion(
        id=id_,
        image=one.name("imageId"),
        text=one.get("question", str),
        answer=one.text("answer") if one.has("answer") else None,
        balanced=one.truth("isBalanced", default=True),
        structural=types.text("structural", "query"),
        detailed=types.text("detailed", ""),
        group=groups.text("global") if groups.has("global") else None,
        entailed=tuple(str(other) for other in one.items("entailed") if str(other) != id_),
    )
