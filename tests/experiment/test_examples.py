"""Every task leaves examples with what the model read, where it looked and what it answered."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import experiment, report
from mm_kptm.datasets.protocol import PRETRAINING, task_datasets
from mm_kptm.experiment.examples import COUNT, _chosen
from mm_kptm.experiment.settings import EncoderSettings, KnowledgeSettings
from mm_kptm.report import read_gallery
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.tasks.protocol import find
from tests.experiment.test_run import tiny

#: Of Number World, those that one encoder of text and regions does; towers of images and texts show no states.
TASKS = [
    supply.task_name
    for supply in task_datasets()
    if supply.data is NumberWorldData
    and supply.task_name not in (PRETRAINING, "contrastive-retrieval", "minimal-pairs")
]
DRAWN = {"vqa", "knowledge-vqa", "retrieval", "grounding"}  #: with the picture of a scene
#: A line is of a triple, of two sentences, of an image alone, of two images, or of several choices.
SEVERAL = {
    "link-prediction", "triple-classification", "parallel-sentences", "captioning", "nlvr2", "multiple-choice", "vcr"
}  # fmt: skip


def measured(out: Path, task: str, **changes: object) -> Path:
    settings = tiny(out, task=task, **changes)
    data = replace(settings.data, languages=("en", "de"), candidate_pool_size=4)
    settings = replace(settings, data=data, train=replace(settings.train, steps=1))
    experiment.train(settings, settings.folder, progress=False)
    experiment.evaluate(settings.folder, "test")
    return settings.folder


@pytest.mark.parametrize("task", TASKS)
def test_every_task_shows_examples(task: str, tmp_path: Path) -> None:
    told = KnowledgeSettings("sentence-tree", "true") if task in ("knowledge-vqa", "cloze") else KnowledgeSettings()
    folder = measured(tmp_path, task, knowledge=told)
    found = read_gallery(folder / "examples" / "test.json")
    rows = [json.loads(line) for line in (folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert len(found) == COUNT and {one.id for one in found} <= {str(row["id"]) for row in rows}
    alone: set[str] = set()
    verdicts = [row["correct"] >= 0.5 for row in rows]
    assert sum(one.correct < 0.5 for one in found) == min(verdicts.count(False), max(3, COUNT - verdicts.count(True)))
    for one in found:
        assert len(one.question.split()) > 1 and "[CLS]" not in one.question
        assert bool(one.image) == (task in DRAWN)
        seen = "regions" in find(task).needs and task != "nlvr2"  # whose images are two
        assert (len(one.boxes) > 0) == seen and all(" " in box.label for box in one.boxes)
        if one.tokens and task != "nlvr2":
            alone.add(task)
            shares = [part.attention for part in (*one.tokens, *one.boxes)]
            assert sum(shares) == pytest.approx(1, abs=0.01)
        if told.kind != "none":
            assert one.facts
    assert bool(alone) == (task not in SEVERAL)
    assert len(list((folder / "examples").iterdir())) == 1
    text = report.write([folder]).read_text()
    assert text.count("<article") == COUNT


@pytest.mark.parametrize("recipe", ["lxmert-base", "vilbert-base", "volta-uniter"])
def test_two_streams_show_attention_to_text_and_regions(recipe: str, tmp_path: Path) -> None:
    narrow = {"region_states": 8, "region_ffn_dim": 12, "cross_dim": 8} if recipe == "vilbert-base" else {}
    sizes = {"dim": 8, "num_heads": 2, "ffn_dim": 12, **narrow}
    folder = measured(tmp_path, "vqa", encoder=EncoderSettings(recipe, sizes))
    for one in read_gallery(folder / "examples" / "test.json"):
        assert all(part.attention is not None for part in (*one.tokens, *one.boxes))
        assert sum(token.attention for token in one.tokens) <= 1.01 and one.boxes


def test_examples_are_right_and_wrong_as_far_as_there_are_any() -> None:
    rows = [{"id": str(at), "correct": float(at >= 7)} for at in range(9)]
    assert _chosen(rows, 6) == [0, 1, 2, 3, 7, 8]
    assert _chosen(rows[7:], 6) == [0, 1] and _chosen(rows[:7], 6) == [0, 1, 2, 3, 4, 5]
    assert _chosen([{"id": "a"}, {"id": "b"}], 6) == [0, 1]  # no gold answers
