"""Linked texts survive being written, and what is wrong with a file is said with its line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.linked_texts import (
    Candidate,
    Link,
    LinkedText,
    as_json,
    read_linked,
    read_texts,
    write_linked,
)

ROME = {"start": 3, "end": 7, "surface": "Rome", "candidates": [{"entity": "Q220", "prior": 0.5}], "entity": "Q220"}


def written(folder: Path, *lines: object) -> Path:
    file = folder / "linked.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def told(**changes: object) -> dict[str, object]:
    return {"id": "a", "text": "in Rome today", "mentions": [{**ROME, **changes}]}


@st.composite
def linked_texts(draw: st.DrawFn) -> LinkedText:
    text = draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    share = st.floats(0, 1, allow_nan=False)
    candidates = st.lists(st.builds(Candidate, st.text(max_size=3), share, share), max_size=3).map(tuple)
    links = [Link(a, b, draw(candidates), draw(st.none() | st.text(max_size=3))) for a, b in pairwise(cuts)]
    return LinkedText(
        draw(st.text(min_size=1, max_size=3).filter(str.strip)), text, draw(st.none() | st.just("de")), tuple(links)
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(linked_texts(), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("texts") / "linked.jsonl"
    write_linked(texts, path)
    assert list(read_linked(path)) == texts


def test_a_line_is_the_published_object():
    link = Link(3, 7, (Candidate("Q220", 0.5, 0.5), Candidate("Q1", 0.5, 0.25)), None)
    assert json.loads(as_json(LinkedText("a", "in Rome", None, (link,)))) == {
        "id": "a",
        "text": "in Rome",
        "language": None,
        "mentions": [
            {
                "start": 3,
                "end": 7,
                "surface": "Rome",
                "candidates": [{"entity": "Q220", "prior": 0.5}, {"entity": "Q1", "prior": 0.5, "score": 0.25}],
                "entity": None,
            }
        ],
    }


def test_half_a_character_is_refused(tmp_path):
    text = LinkedText("1", "Rome \ud83d", None, (Link(5, 6, (), None),))
    write_linked([text], tmp_path / "linked.jsonl")
    with pytest.raises(UserError, match=r"linked.jsonl, line 1 holds .ud83d, which is half a character"):
        list(read_linked(tmp_path / "linked.jsonl"))


def test_much_may_be_left_out(tmp_path):
    path = written(tmp_path, {"text": "in Rome"}, {"id": 7, "text": "in Rome", "mentions": [{"start": 3, "end": 7}]})
    bare, named = read_linked(path)
    assert bare == LinkedText("1", "in Rome")
    assert (named.id, named.mentions) == ("7", (Link(3, 7, (), None),))
    (scored,) = read_linked(written(tmp_path, told(candidates=[{"entity": "Q1", "score": 1}])))
    assert scored.mentions[0].candidates == (Candidate("Q1", 1.0, 1.0),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            told(end=17),
            r"linked.jsonl, line 2, mentions\[0\] says characters 3 to 17 of a text of 13; a mention begins before",
        ),
        (told(start=-1), r"line 2, mentions\[0\] says characters -1 to 7"),
        (told(end=3), r"line 2, mentions\[0\] says characters 3 to 3"),
        (told(start=2), r'line 2, mentions\[0\] says "Rome", but characters 2 to 7 of its text are " Rome"'),
        (told(entity=7), r"line 2, mentions\[0\]: 'entity' must be a text, but it is 7"),
        (told(candidates=[{"entity": "Q1"}]), r"candidates\[0\] has neither 'prior' nor 'score'; a candidate has one"),
        (told(candidates={}), r"line 2, mentions\[0\]: 'candidates' must be a list"),
        ({"id": "a"}, r"line 2 has no 'text'; it has id"),
        ([], r"line 2 must be an object"),
        (
            {"text": "in Rome", "mentions": [{"start": 3, "end": 7}, {"start": 0, "end": 4}]},
            r'line 2: the mentions "in R" from 0 and "Rome" from 3 overlap, but no two may; keep one of them',
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line, message, tmp_path):
    with pytest.raises(UserError, match=message):
        list(read_linked(written(tmp_path, told(), line)))


def test_mentions_overlap_where_they_may(tmp_path):
    path = written(tmp_path, {"text": "in Rome", "mentions": [{"start": 3, "end": 7}, {"start": 0, "end": 7}]})
    (linked,) = read_linked(path, overlaps=True)
    assert [link[:2] for link in linked.mentions] == [(0, 7), (3, 7)]


def test_texts_are_lines_or_objects(tmp_path):
    plain = tmp_path / "texts.txt"
    plain.write_text("in Rome\n\n{in} Paris\r\n", encoding="utf-8")
    assert list(read_texts(plain)) == [LinkedText("1", "in Rome"), LinkedText("3", "{in} Paris")]
    objects = written(tmp_path, {"id": "x", "text": "a\nb", "language": "de"})
    assert list(read_texts(objects)) == [LinkedText("x", "a\nb", "de")]


def test_files_that_hold_no_text_are_refused(tmp_path):
    for name, content, message in (
        ("a.txt", b" \n", r"a.txt is empty; one text a line was expected"),
        ("a.jsonl", b"", r"a.jsonl is empty; one text a line was expected"),
        ("b.txt", b"ok\n\xff\n", r"b.txt, line 2 is not UTF-8"),
        ("b.jsonl", b"{", r"b.jsonl, line 1, column 2: no valid JSON"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            list(read_texts(tmp_path / name))
    with pytest.raises(UserError, match=r"texts were looked for in .*nothing.txt, but there is no such file"):
        list(read_texts(tmp_path / "nothing.txt"))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def breaking():
        yield LinkedText("1", "a")
        raise UserError("line 2 is broken")

    path = tmp_path / "out" / "linked.jsonl"
    with pytest.raises(UserError):
        write_linked(breaking(), path)
    assert list(path.parent.iterdir()) == []
    write_linked([LinkedText("1", "old")], path)
    with pytest.raises(UserError):
        write_linked(breaking(), path)
    assert [linked.text for linked in read_linked(path)] == ["old"]
