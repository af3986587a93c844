"""IGLUE's tasks are learnt in English and tested in other languages, from files as it has them."""

import json

import numpy as np
import pytest

from mm_kptm import config
from mm_kptm.data.formats.vision.iglue import language_in, read_marvl, read_xflickrco, read_xgqa, read_xvnli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.settings import Experiment
from tests.stores import write_regions

SIZES = {
    "schedule": "tt+tv+vt+vv= t+v=",
    "dim": 16,
    "num_heads": 2,
    "ffn_dim": 32,
    "pooled_dim": 16,
    "max_positions": 64,
}
WORDS = [f"w{number}" for number in range(12)]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Every file of IGLUE's four tasks, in English and two other languages."""
    home = tmp_path_factory.mktemp("iglue")
    (home / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    rng = np.random.default_rng(0)
    names = [f"{n}.jpg" for n in range(4)] + [str(n) for n in range(4)] + ["train-1-0-img0.png", "train-1-0-img1.png"]
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))
    write_regions(home / "regions", [(name, rng.normal(size=(3, 8)), boxes) for name in names])
    labels = ("entailment", "neutral", "contradiction", "neutral")
    for language, split in (("en", "train"), ("ar", "test"), ("ru", "test")):
        said = [
            {"gold_label": one, "sentence1": "w0", "sentence2": f"w{n}", "pairID": f"{n}", "Flikr30kID": f"{n}.jpg"}
            for n, one in enumerate(labels)
        ]
        lines(home / f"xvnli/{language}/{split}.jsonl", said)
        told = [{"sentences": [f"w{n} w5"], "id": n, "img_path": f"{n}.jpg"} for n in range(4)]
        lines(home / f"xflickrco/{language}/{split}.jsonl", told)
    asked = {str(n): {"question": f"w{n}", "imageId": str(n), "answer": f"w{n % 2}"} for n in range(4)}
    (home / "xgqa").mkdir()
    (home / "xgqa/train_balanced_questions.json").write_text(json.dumps(asked))
    for language in ("bn", "ko"):
        (home / f"xgqa/testdev_balanced_questions_{language}.json").write_text(json.dumps(asked))
        pairs = [
            {"concept": "1-a", "caption": f"w{n}", "left_img": "0.jpg", "right_img": "1.jpg", "label": n == 0, "id": n}
            for n in range(2)
        ]
        lines(home / f"marvl/marvl-{language}.jsonl", pairs)
    lines(home / "marvl/train.json", [{"identifier": "train-1-0-0", "sentence": "w1", "label": "True"}] * 1)
    return home


TASKS = {
    "xvnli": ("visual-entailment", "xvnli/en/train.jsonl", "xvnli/*/test.jsonl", {"ar", "ru"}, 8),
    "xgqa": ("gqa", "xgqa/train_balanced_questions.json", "xgqa/testdev_*.json", {"bn", "ko"}, 8),
    "marvl": ("nlvr2", "marvl/train.json", "marvl/marvl-*.jsonl", {"bn", "ko"}, 4),
    "xflickrco": ("retrieval", "xflickrco/en/train.jsonl", "xflickrco/*/test.jsonl", {"ar", "ru"}, 8),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_learnt_in_english_and_scored_in_each_language(home, name):
    task, learnt, tested, languages, count = TASKS[name]
    file = home / f"{name}.yaml"
    file.write_text(
        json.dumps(
            {
                "name": f"run-{name}",
                "task": task,
                "encoder": {"recipe": "muniter", "sizes": SIZES},
                "data": {
                    "name": name,
                    "vocabulary": str(home / "vocab.txt"),
                    "features": str(home / "regions"),
                    "train": str(home / learnt),
                    "test": str(home / tested),
                    "max_length": 12,
                },
                "train": {"steps": 1, "batch_size": 2},
                "out": str(home),
            }
        )
    )
    settings = config.read(Experiment, file)
    train(settings, settings.folder, progress=False)
    result = evaluate(settings.folder)
    assert result["n"] == count and set(result["by_language"]) == languages
    if name == "xflickrco":
        assert result["baselines"]["chance-recall@1"] == 0.25  # among the four images of one language


def test_languages_are_in_names_and_labels_in_their_forms(home):
    assert language_in(home / "xvnli/ar/test.jsonl") == "ar" and language_in(home / "marvl/marvl-ko.jsonl") == "ko"
    assert {language for _, language in read_xvnli(home / "xvnli/en/train.jsonl")} == {"en"}
    (first, language), _ = read_marvl(home / "marvl/marvl-bn.jsonl")
    assert (first.label, first.id, language) == ("True", "bn-0", "bn")
    assert read_marvl(home / "marvl/train.json")[0][0].label == "True"
    listed = home / "train_5.json"
    listed.write_text(json.dumps([{"img_id": "7", "label": {"yes": 1.0}, "question_id": "q1", "sent": "w1"}]))
    ((question, language),) = read_xgqa(listed)
    assert (question.image, question.answer, language) == ("7", "yes", "en")
    assert read_xflickrco(home / "xflickrco/ru/test.jsonl")[0].captions == (("ru-0-0", "w0 w5"),)


def test_files_that_break_the_form_are_named(home):
    twice = lines(home / "de/test.jsonl", [{"sentences": ["a"], "id": 1, "img_path": "1.jpg"}] * 2)
    with pytest.raises(UserError, match=r"line 2: the image 1.jpg is there twice, first at"):
        read_xflickrco(twice)
    wrong = lines(home / "fr/test.jsonl", [{"pairID": "1", "gold_label": "maybe", "sentence2": "a", "Flikr30kID": "1"}])
    with pytest.raises(UserError, match=r"'gold_label' must be one of contradiction, neutral, entailment"):
        read_xvnli(wrong)
    lacking = lines(home / "marvl-sw.jsonl", [{"caption": "a", "id": 1, "left_img": "1.jpg", "label": True}])
    with pytest.raises(UserError, match=r"line 1 has no 'right_img'; it has"):
        read_marvl(lacking)
