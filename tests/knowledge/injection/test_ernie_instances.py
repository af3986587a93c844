import random
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.ernie_instances import (
    Document,
    InstanceMaker,
    alternating,
    first_of_run,
    read_documents,
)

NUMBERS = {"Q1": 4, "Q2": 7}


def documents(count: int = 12) -> list[Document]:
    """Every token carries its own number as entity, so that one can be checked against the other."""
    return [
        [[(1000 * d + 20 * s + t, 1000 * d + 20 * s + t) for t in range(9)] for s in range(5)] for d in range(count)
    ]


def test_tokens_and_entities_stay_together() -> None:
    for instance in InstanceMaker(max_length=40)(documents(), random.Random(0)):
        truth = [label if label != -1 else token for token, label in zip(instance.ids, instance.labels, strict=True)]
        specials = {101, 102}
        assert all(e == (-1 if t in specials else t) for t, e in zip(truth, instance.entities, strict=True))


def test_instances_fit_and_say_where_their_spans_end() -> None:
    made = list(InstanceMaker(max_length=30, short_rate=0.5)(documents(), random.Random(1)))
    assert {instance.random_next for instance in made} == {False, True}
    for instance in made:
        assert len(instance.ids) == len(instance.segments) == len(instance.labels) <= 30
        ends = [place for place, token in enumerate(instance.ids) if token == 102 and instance.labels[place] == -1]
        assert ends[1] == len(instance.ids) - 1
        assert instance.segments == (0,) * (ends[0] + 1) + (1,) * (ends[1] - ends[0])


def test_random_next_spans_come_from_another_document() -> None:
    for instance in InstanceMaker(max_length=40, hidden_rate=0.0)(documents(), random.Random(2)):
        sides = [
            {e // 1000 for e, s in zip(instance.entities, instance.segments, strict=True) if s == side and e >= 0}
            for side in (0, 1)
        ]
        assert (sides[0] != sides[1]) == instance.random_next


def test_as_many_tokens_are_hidden_as_told() -> None:
    for instance in InstanceMaker(max_length=40, most_hidden=4)(documents(), random.Random(3)):
        assert sum(label != -1 for label in instance.labels) == min(4, max(1, round(0.15 * len(instance.ids))))


def test_instances_with_few_entities_are_dropped() -> None:
    bare: list[Document] = [[[(token, -1) for token, _ in sentence] for sentence in d] for d in documents()]
    assert not list(InstanceMaker()(bare, random.Random(0)))
    assert list(InstanceMaker(fewest_entities=0)(bare, random.Random(0)))


def test_the_same_seed_makes_the_same_instances_and_copies_hide_anew() -> None:
    once, again = (list(InstanceMaker(max_length=40)(documents(), random.Random(5))) for _ in range(2))
    assert once == again
    twice = list(InstanceMaker(max_length=40, copies=2)(documents(), random.Random(5)))
    assert len(twice) > len(once)
    assert twice[: len(once)] == once


def test_a_run_keeps_its_first_token() -> None:
    values, named = [3, 7, 7, 7, 2, 7, 7], [False, True, True, True, False, True, True]
    assert first_of_run(values, named) == [3, 7, -1, -1, 2, 7, -1]
    assert alternating(values, named) == [3, 7, -1, 7, 2, 7, -1]
    assert first_of_run([7, 7], [False, True]) == [7, 7]
    assert alternating([7, 7], [False, True]) == [7, -1]


def written(folder: Path, tokens: str, entities: str) -> list[Document]:
    (folder / "token").write_text(tokens)
    (folder / "entity").write_text(entities)
    return read_documents(folder / "token", folder / "entity", NUMBERS)


def test_documents_are_read(tmp_path: Path) -> None:
    found = written(tmp_path, "2\t2\t10\t11\t1\t12\n0\n", "2\t2\tQ2\tQ2\t1\tQ9\n0\n")
    assert found == [[[(10, 7), (11, -1)], [(12, -1)]]]


def test_broken_files_are_said_by_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"documents were looked for in .*token, but there is no such file"):
        read_documents(tmp_path / "token", tmp_path / "entity", NUMBERS)
    with pytest.raises(UserError, match=r"token has 2 lines and .*entity 1; they run in parallel"):
        written(tmp_path, "1\t1\t5\n1\t1\t5\n", "1\t1\tQ1\n")
    with pytest.raises(UserError, match=r"token, line 1: a document is whole numbers set apart by tabs, not '1\\tone"):
        written(tmp_path, "1\tone\n", "1\t1\tQ1\n")
    with pytest.raises(UserError, match="token, line 1 has 3 numbers, but the entities beside it are 4"):
        written(tmp_path, "1\t1\t5\n", "1\t1\tQ1\tQ1\n")
    with pytest.raises(UserError, match="token, line 1 ends inside a sentence; it should have 2 sentences"):
        written(tmp_path, "2\t1\t5\n", "2\t1\tQ1\n")
    with pytest.raises(UserError, match="entity, line 1 is empty; it begins with the number of sentences"):
        written(tmp_path, "1\t1\t5\n", "\n")


def test_spans_need_room() -> None:
    with pytest.raises(UserError, match="max_length is 4, but two spans"):
        next(InstanceMaker(max_length=4)(documents(), random.Random(0)))
