"""VQA v2's own files become questions, and predictions become the file its server takes."""

import json

import numpy as np
import pytest

import mm_kptm
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.vision.vqa_v2 import VqaV2Data, vqa
from mm_kptm.datasets.vision.vqa_v2_source import VqaV2, check_submission, write_submission
from mm_kptm.errors import UserError
from mm_kptm.tasks.vision.vqa import VQA
from mm_kptm.vision.features.store import RegionStore
from tests.stores import write_regions

TOKENIZER = WordPiece((*BERT_SPECIALS, "what", "is", "it", "red", "?"), lowercase=True)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    asked, given = [], []
    for number in range(12):
        asked.append({"question_id": 100 + number, "image_id": number // 3, "question": "What is it, is it red?"})
        people = ["Red"] * 2 + ["blue"] * 8 if number % 2 else ["yes"] * 10
        given.append(
            {
                "question_id": 100 + number,
                "image_id": number // 3,
                "question_type": "what is",
                "answer_type": "other",
                "multiple_choice_answer": people[-1],
                "answers": [{"answer": answer, "answer_id": place} for place, answer in enumerate(people)],
            }
        )
    (tmp_path / "q.json").write_text(json.dumps({"questions": asked}))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": given}))
    write_regions(
        tmp_path / "regions", [(str(n), rng.normal(size=(2 + n, 384)), rng.uniform(size=(2 + n, 4))) for n in range(4)]
    )
    return tmp_path


@pytest.fixture
def split(folder):
    return VqaV2.read(folder / "q.json", folder / "a.json")


@pytest.fixture
def source(folder, split):
    return split.source(("yes", "blue", "red"), TOKENIZER, RegionStore(folder / "regions"))


def test_questions_scores_and_regions_come_together(source):
    batch = source.batch([0, 1, 5, 9], seeded(0))
    assert batch.scores.tolist() == [[1, 0, 0], *[[0, 1, pytest.approx(0.6)]] * 3]
    pieces = ("[CLS]", "what", "is", "it", "[UNK]", "is", "it", "red", "?", "[SEP]")
    ids = [TOKENIZER.vocabulary.index(piece) for piece in pieces]
    assert next(batch.inputs.text.layout.split(batch.inputs.text.ids)).tolist() == ids
    assert batch.inputs.regions.layout.lengths == (2, 3, 5)  # questions 0 and 1 share an image
    assert batch.inputs.image_of.tolist() == [0, 0, 1, 2]
    assert source.length(9) == len(ids) + 5


def test_common_answers_are_chosen(split):
    assert split.answers(min_count=6) == ("blue", "yes")
    message = "no answer is the most frequent one of 9 or more of the 12 annotated questions; give more questions or a"
    with pytest.raises(UserError, match=message):
        split.answers()


def test_long_questions_are_cut(folder, split):
    source = split.source(("yes",), TOKENIZER, RegionStore(folder / "regions"), max_length=3)
    assert source.batch([0], seeded(0)).inputs.text.layout.lengths == (5,)


def test_an_image_without_regions_is_named(folder, split):
    store = write_regions(folder / "few", [("0", np.ones((1, 384)), np.ones((1, 4)))])
    with pytest.raises(UserError, match=r"few has no regions of image '1'; it holds 1 images"):
        split.source(("yes",), TOKENIZER, store)


def test_a_test_split_has_no_annotations(folder):
    split = VqaV2.read(folder / "q.json")
    assert len(split.questions) == 12 and not split.annotations


def test_answers_reach_the_server_in_its_form(folder, split, source, reader):
    system = reader(heads={"vqa": {"num_answers": 3}}, vocab_size=len(TOKENIZER))
    rows = VQA(system, source.answers).predictions(source, batch_size=4)
    accuracy = {"yes": [1, 0] * 6, "blue": [0, 1] * 6, "red": [0, 0.6] * 6}
    assert [row["correct"] for row in rows] == pytest.approx([accuracy[row["answer"]][n] for n, row in enumerate(rows)])
    write_submission(rows, folder / "submission.json")
    check_submission(folder / "submission.json", split.questions)
    written = json.loads((folder / "submission.json").read_text())
    assert [entry["question_id"] for entry in written] == list(range(100, 112))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answers: {"answers": answers}, "must hold a list of answers"),
        (lambda answers: [*answers, 5], "entry 13 must have the fields question_id and answer and no other"),
        (
            lambda answers: [{**answers[0], "score": 1}],
            "entry 1 must have the fields question_id and answer and no other",
        ),
        (
            lambda answers: [{"question_id": "100", "answer": "x"}],
            "question_id must be a whole number and answer a text",
        ),
        (lambda answers: [*answers, answers[0]], "entry 13: question 100 was answered before"),
        (lambda answers: [{"question_id": 7, "answer": "x"}], "entry 1: question 7 is not one of the split"),
        (lambda answers: answers[1:], "has no answer to 1 questions, the first of them 100"),
    ],
)
def test_a_submission_that_the_server_would_refuse_is_refused(folder, split, change, message):
    answers = [{"question_id": question.id, "answer": "yes"} for question in split.questions]
    (folder / "s.json").write_text(json.dumps(change(answers)))
    with pytest.raises(UserError, match=message):
        check_submission(folder / "s.json", split.questions)


def test_a_run_writes_the_file_of_its_own_split(folder):
    (folder / "vocab.txt").write_text("\n".join(TOKENIZER.vocabulary))
    asked = {"test_questions": folder / "q.json", "features": folder / "regions", "vocabulary": folder / "vocab.txt"}
    files = {"questions": folder / "q.json", "annotations": folder / "a.json", **asked}
    data = VqaV2Data(name="vqa-v2", min_count=1, **files)
    prepared = vqa(data, DataRequest(mm_kptm.catalogue()["uniter-base"]))
    rows = [{"id": str(100 + number), "answer": "yes"} for number in range(12)]
    (path,) = prepared.submit("test", rows, folder)
    assert json.loads(path.read_text())[3] == {"question_id": 103, "answer": "yes"}
    with pytest.raises(UserError, match=r"vqa-v2-test.json has no answer to 1 questions, the first of them 111"):
        prepared.submit("test", rows[:-1], folder)
    assert len(prepared.read_file(folder / "q.json")) == 12
    assert prepared.fingerprints["train questions"] == prepared.fingerprints["test questions"]
    (folder / "vocab.txt").write_text("\n".join([*TOKENIZER.vocabulary, "another"]))
    assert {part for part, digest in data.fingerprints.items() if digest != prepared.fingerprints[part]} == {
        "vocabulary"
    }
