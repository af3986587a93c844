"""VQA v2's files are read, and what is wrong with one is said with its place."""

import json

import pytest

from mm_kptm.data.formats.vqa_v2 import annotated, read_vqa_annotations, read_vqa_questions
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_json

QUESTION = {"question_id": 7, "image_id": 3, "question": "What is it?"}
ANNOTATION = {
    "question_id": 7,
    "image_id": 3,
    "question_type": "what is",
    "answer_type": "other",
    "multiple_choice_answer": "cat",
    "answers": [{"answer": "cat", "answer_id": n, "answer_confidence": "yes"} for n in range(1, 11)],
}


def write(path, key, entries):
    path.write_text(json.dumps({"info": {}, key: entries}), encoding="utf-8")
    return path


def test_published_files_are_read_in_their_order(tmp_path):
    file = write(tmp_path / "q.json", "questions", [{**QUESTION, "question_id": 9}, QUESTION])
    assert [question.id for question in read_vqa_questions(file)] == [9, 7]
    (annotation,) = read_vqa_annotations(write(tmp_path / "a.json", "annotations", [ANNOTATION]))
    assert (annotation.question, annotation.answers, annotation.most_frequent) == (7, ("cat",) * 10, "cat")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "'questions' is empty; at least one entry was expected"),
        ([QUESTION, 5], r"questions\[1\] must be an object, but it is 5"),
        ([{"image_id": 1}], r"questions\[0\] has no 'question_id'; it has image_id"),
        ([{**QUESTION, "image_id": "x"}], r"questions\[0\]: 'image_id' must be a whole number, but it is \"x\""),
        ([{**QUESTION, "question_id": True}], "'question_id' must be a whole number, but it is true"),
        ([{**QUESTION, "question": None}], "'question' must be a text, but it is null"),
        ([QUESTION, QUESTION], r"questions\[1\]: question 7 is there twice, first at .*questions\[0\]"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path, entries, message):
    with pytest.raises(UserError, match=message):
        read_vqa_questions(write(tmp_path / "q.json", "questions", entries))


def test_malformed_answers_are_named(tmp_path):
    file = tmp_path / "a.json"
    with pytest.raises(UserError, match=r"annotations\[0\]: 'answers' is empty, but accuracy needs at least one"):
        read_vqa_annotations(write(file, "annotations", [{**ANNOTATION, "answers": []}]))
    with pytest.raises(UserError, match=r"annotations\[0\], answers\[1\] has no 'answer'; it has answer_id"):
        broken = {**ANNOTATION, "answers": [{"answer": "cat"}, {"answer_id": 2}]}
        read_vqa_annotations(write(file, "annotations", [broken]))
    with pytest.raises(UserError, match=r"'answers' must be a list, but it is \"cat\""):
        read_vqa_annotations(write(file, "annotations", [{**ANNOTATION, "answers": "cat"}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a JSON file was expected"),
        (b" \n", "is empty; a JSON file was expected"),
        (b'{"questions":\n [}', "line 2, column 3: no valid JSON: Expecting value"),
        (b'{"a": "\xff"}', "line 1 is not UTF-8; save the file in that encoding"),
        (b"[" * 200_000, "nests too deep to be read|no valid JSON"),
        (b"[]", r"q.json must be an object, but it is \[\]"),
        (b"{}", "q.json has no 'questions'; it has nothing"),
    ],
)
def test_what_is_no_questions_file_is_refused(tmp_path, content, message):
    (tmp_path / "q.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_vqa_questions(tmp_path / "q.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json was to be read, but there is no such file"):
        read_json(tmp_path / "nowhere.json")


def test_files_of_two_splits_are_told_apart(tmp_path):
    asked = read_vqa_questions(write(tmp_path / "q.json", "questions", [QUESTION]))
    files = {"questions_file": "q.json", "annotations_file": "a.json"}

    def given(**changes):
        return read_vqa_annotations(write(tmp_path / "a.json", "annotations", [{**ANNOTATION, **changes}]))

    assert annotated(asked, given(), **files)[7].answers[0] == "cat"
    with pytest.raises(UserError, match=r"a.json has no annotation of question 7 of q.json; give the two files of one"):
        annotated(asked, given(question_id=8), **files)
    with pytest.raises(UserError, match=r"question 7 is about image 3 in q.json but about image 4 in a.json"):
        annotated(asked, given(image_id=4), **files)
