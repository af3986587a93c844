"""The user's own lines are read by one schema a task, and what is wrong with one is named with its line."""

import json

import pytest

from mm_kptm.data.formats import jsonl as own
from mm_kptm.errors import UserError

PAIR = {"premise": "A", "hypothesis": "B"}
SPANS = {"text": "Anna of Rome", "head": [0, 4], "tail": [8, 12]}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_what_need_not_be_said_is_left_out(tmp_path):
    (pair,) = own.read_entailment(lines(tmp_path / "a.jsonl", PAIR))
    assert (pair.id, pair.label, pair.language) == ("1", None, "en")
    (asked,) = own.read_vqa(lines(tmp_path / "b.jsonl", {"id": 7, "image": 3, "question": "what"}))
    assert (asked.id, asked.image, asked.answers) == ("7", "3", ())
    (related,) = own.read_relation(lines(tmp_path / "c.jsonl", SPANS))
    assert related.relation is None and related.tail.end == 12


@pytest.mark.parametrize(
    ("read", "row", "message"),
    [
        (own.read_entailment, {**PAIR, "lable": "neutral"}, "line 2 has the unknown key 'lable'; did you mean label"),
        (own.read_entailment, {**PAIR, "label": "maybe"}, "line 2: 'label' must be one of contradiction, entailment"),
        (own.read_entailment, {**PAIR, "premise": " "}, "line 2: 'premise' is blank; a text was expected"),
        (own.read_entailment, {**PAIR, "id": "1"}, "line 2: the id 1 is there twice, first at .*line 1"),
        (own.read_typing, {"text": "A", "mention": [0]}, r"line 2: 'mention' must hold 2 numbers, but it is \[0\]"),
        (own.read_typing, {"text": "A", "mention": [0, 2]}, "line 2: 'mention' says characters 0 to 2 of a text of 1"),
        (own.read_typing, {"text": "A", "mention": [0, 1], "types": ["a|b"]}, r"'types' has a type with \| in it"),
        (own.read_relation, {**SPANS, "tail": [3, 6]}, "line 2: 'head' and 'tail' share characters; they must stand"),
        (own.read_parallel, {"sentences": {"en": "A"}}, "line 2: 'sentences' is in 1 language; two at least"),
        (own.read_parallel, {"sentences": ["A", "B"]}, "line 2: 'sentences' must be an object"),
        (own.read_parallel, {"sentences": {"en": "A", "de": 1}}, "'sentences', de must be a text, but it is 1"),
        (own.read_grounding, {"image": "a", "text": "A", "box": [0, 0, 9, 9]}, "'box' is .*; a box is x1 < x2"),
        (own.read_grounding, {"image": 1.5, "text": "A"}, "line 2: 'image' must be a text, but it is 1.5"),
        (own.read_retrieval, {"image": "a", "captions": "A"}, "line 2: 'captions' must be a list"),
        (own.read_vqa, {"image": "a", "question": "A", "answers": []}, "line 2: 'answers' is empty; at least one"),
        (own.read_vqa, {"image": "a", "question": "A", "answers": ["x"] * 3}, "'answers' holds 3; give one answer, or"),
        (own.read_vqa, {"image": "a"}, "line 2 has no 'question'; it has image"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, read, row, message):
    good = {
        own.read_entailment: PAIR,
        own.read_typing: {"text": "A", "mention": [0, 1]},
        own.read_relation: SPANS,
        own.read_parallel: {"sentences": {"en": "A", "de": "B"}},
        own.read_grounding: {"image": "a", "text": "A"},
        own.read_retrieval: {"image": "a", "captions": ["A"]},
        own.read_vqa: {"image": "a", "question": "A"},
    }[read]
    with pytest.raises(UserError, match=message):
        read(lines(tmp_path / "x.jsonl", good, row))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.jsonl is empty; a file of one JSON object a line was expected"),
        (b'{"premise": "A", "hypothesis": "B"}\n{', "x.jsonl, line 2, column 2: no valid JSON"),
        (b"[1]\n", r"x.jsonl, line 1 must be an object, but it is \[1\]"),
        (
            b'{"premise": "\xff"}',
            "x.jsonl, line 1 is not UTF-8; save the file in that encoding",
        ),
    ],
)
def test_what_is_no_file_of_lines_is_refused(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        own.read_entailment(tmp_path / "x.jsonl")
