"""A split without gold answers is said to have none; of one with some, only those are measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mm_kptm import report
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnImages, OwnTexts
from mm_kptm.errors import UserNotice
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.train.settings import TrainSettings
from tests.stores import write_regions

SMALL = {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8}
#: By task: the keys that are always there, and the gold answers of two examples.
EXAMPLES = {
    "sentence-classification": ({"text": "a b"}, [{"label": "x"}, {"label": "y"}]),
    "entailment": ({"premise": "a", "hypothesis": "b"}, [{"label": "neutral"}, {"label": "entailment"}]),
    "named-entities": ({"words": ["a", "b"]}, [{"tags": ["O", "B-PER"]}, {"tags": ["B-PER", "O"]}]),
    "cloze": ({"text": "a [MASK]"}, [{"answer": "a"}, {"answer": "b"}]),
    "entity-typing": ({"text": "a b", "mention": [0, 1]}, [{"types": ["x"]}, {"types": ["y"]}]),
    "relation-classification": (
        {"text": "a b", "head": [0, 1], "tail": [2, 3]},
        [{"relation": "x"}, {"relation": "y"}],
    ),
    "vqa": ({"image": "one", "question": "a"}, [{"answers": ["x"]}, {"answers": ["y"]}]),
    "grounding": ({"image": "one", "text": "a"}, [{"box": [0, 0, 0.5, 1]}, {"box": [0.5, 0, 1, 1]}]),
}


def experiment(folder: Path, task: str) -> Experiment:
    always, gold = EXAMPLES[task]
    for split, labels in (("train", gold), ("dev", [gold[0], {}, {}]), ("test", [{}, {}, {}])):
        lines = [json.dumps({**always, **label}) + "\n" for label in labels]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "b"]) + "\n")
    files = {split: folder / f"{split}.jsonl" for split in ("train", "dev", "test")}
    if task in ("vqa", "grounding"):
        boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
        write_regions(folder / "regions", [("one", np.ones((2, 4)), boxes)])
        images = OwnImages(name="custom-image", vocabulary=folder / "vocab.txt", features=folder / "regions", **files)
        return Experiment("x", EncoderSettings("uniter-base", sizes=SMALL), images, task)
    texts = OwnTexts(name="custom-text", vocabulary=folder / "vocab.txt", **files)
    return Experiment("x", EncoderSettings("bert-base", sizes=SMALL), texts, task)


@pytest.mark.parametrize("task", EXAMPLES)
def test_a_split_without_gold_answers_is_measured_by_nothing(task: str, tmp_path: Path) -> None:
    settings = experiment(tmp_path, task)
    run = tmp_path / "run"
    result = evaluated(run, settings, build(settings), "test")
    assert result == {
        "run": str(run),
        "split": "test",
        "n": 3,
        "labels": "none of the 3 examples has a gold answer, so nothing is measured",
        **({"baselines": result["baselines"]} if "baselines" in result else {}),
    }
    rows = [json.loads(line) for line in (run / "predictions" / "test.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all("answer" in row and row.keys().isdisjoint({"target", "correct"}) for row in rows)
    page = report.write([run]).read_text()
    assert "None of the 3 examples has a gold answer, so there is no accuracy and no interval" in page


@pytest.mark.parametrize("task", EXAMPLES)
def test_examples_without_a_gold_answer_count_nowhere(task: str, tmp_path: Path) -> None:
    settings = experiment(tmp_path, task)
    built = build(settings)
    some = evaluated(tmp_path / "some", settings, built, "dev")
    assert some.pop("labels") == "1 of the 3 examples have a gold answer, and only they are measured"
    (tmp_path / "dev.jsonl").write_text((tmp_path / "dev.jsonl").read_text().split("\n")[0] + "\n")
    alone = evaluated(tmp_path / "alone", settings, build_with(settings, built), "dev")
    for result in (some, alone):
        del result["run"], result["n"]
    numbers = [{key: value for key, value in one.items() if isinstance(value, float)} for one in (some, alone)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4) and "accuracy" in numbers[0]
    assert {key: some[key] for key in some.keys() - numbers[0]} == {
        key: alone[key] for key in alone.keys() - numbers[1]
    }


def build_with(settings: Experiment, built: object):
    """The same weights over files that were read anew."""
    again = build(settings)
    again.model.load_state_dict(built.model.state_dict())  # type: ignore[attr-defined]
    return again


def test_the_card_of_a_model_has_no_interval_of_a_split_without_labels(tmp_path: Path) -> None:
    settings = replace(experiment(tmp_path, "sentence-classification"), train=TrainSettings(steps=1), out=tmp_path)
    built = train(settings, settings.folder, progress=False)
    before = (settings.folder / "model" / "README.md").read_text()
    assert "labels" in evaluated(settings.folder, settings, built, "test")
    assert (settings.folder / "model" / "README.md").read_text() == before
    evaluated(settings.folder, settings, built, "dev")
    assert (settings.folder / "model" / "README.md").read_text() != before


def test_gold_labels_that_training_never_saw_are_counted(tmp_path: Path) -> None:
    for task, gold in (
        ("sentence-classification", [{"label": "x"}, {"label": "z"}, {"label": "z"}]),
        ("named-entities", [{"tags": ["O", "B-PER"]}, {"tags": ["z", "z"]}, {"tags": ["O", "z"]}]),
        ("entity-typing", [{"types": ["x"]}, {"types": ["x", "z"]}, {"types": ["z"]}]),
    ):
        (tmp_path / task).mkdir()
        settings = experiment(tmp_path / task, task)
        lines = [json.dumps({**EXAMPLES[task][0], **label}) + "\n" for label in gold]
        (tmp_path / task / "test.jsonl").write_text("".join(lines))
        seen = "training never saw some gold labels of test, so these examples count as wrong: 'z' on 2$"
        with pytest.warns(UserNotice, match=seen):
            assert evaluated(tmp_path / task / "run", settings, build(settings), "test")["unseen_labels"] == {"z": 2}
