"""A task's answers start from those that a pretraining on questions has learnt (LXMERT)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm import config
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.systems.saved import read_saved
from tests.stores import write_regions

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "num_region_layers": 1, "num_cross_layers": 1, "ffn_dim": 8}
SIZES |= {"max_positions": 24, "dropout": 0.0}


def questions(path: Path, answers: tuple[str, ...]) -> str:
    lines = [{"image": "ab"[n % 2], "question": "one dog", "answers": [answer]} for n, answer in enumerate(answers)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (2, 1))
    write_regions(tmp_path / "regions", [(image, rng.random((2, 6)), boxes) for image in "ab"])
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "one", "two", "a", "dog"]) + "\n")
    captions = [{"image": image, "captions": ["a dog"]} for image in "ab"]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, captions)) + "\n")
    return tmp_path


def experiment(folder: Path, name: str, data: dict[str, object], **more: object) -> Experiment:
    shared = {"features": str(folder / "regions"), "vocabulary": str(folder / "vocab.txt")}
    encoder = {"recipe": "lxmert-base", **more.pop("encoder", {})}
    encoder |= {} if "weights" in encoder else {"sizes": SIZES}
    settings = {"name": name, "data": {**shared, **data}, "encoder": encoder, "out": str(folder / "runs"), **more}
    settings["train"] = {"steps": 1, "batch_size": 2}
    (folder / f"{name}.yaml").write_text(json.dumps(settings))
    return config.read(Experiment, folder / f"{name}.yaml")


def fine_tuned(folder: Path, **encoder: object) -> Experiment:
    data = {"name": "custom-image", "train": questions(folder / "vqa.jsonl", ("no", "cat", "grey", "no", "cat"))}
    return experiment(folder, "task", data, task="vqa", encoder=encoder)


def test_answers_start_from_a_pretraining_of_ours(folder: Path) -> None:
    asked = questions(folder / "asked.jsonl", ("gray", "yes", "no"))
    data = {"name": "image-text-pairs", "train": str(folder / "captions.jsonl"), "questions": asked}
    before = experiment(folder, "before", data, objectives={"question-answering": 1.0})
    head = train(before, before.folder, progress=False).system.head("question-answering")
    saved = before.folder / "model"
    assert read_saved(saved).labels == {"question-answering": ("gray", "no", "yes")}
    with pytest.warns(UserNotice, match="2 of 3 answers start from those that question-answering was pretrained on"):
        built = build(fine_tuned(folder, weights=str(saved)))
    assert built.task.answers == ("cat", "no", "grey") and list(built.system.heads) == ["vqa"]
    ours = built.system.head("vqa")
    rows = torch.randn(4, 8)
    torch.testing.assert_close(ours(rows)[:, [1, 2]], head(rows)[:, [1, 0]])
    assert (ours(rows)[:, 0] == 0).all()


def test_answers_start_from_a_published_file_and_its_list(folder: Path) -> None:
    heads = {"question-answering": {"num_answers": 3}}
    system = mm_kptm.build("lxmert-base", heads=heads, region_dim=6, vocab_size=9, **SIZES)
    mm_kptm.save(system, folder / "published")
    listed = [{"ans": answer, "dsets": ["vqa"]} for answer in ("cat", "gray", "man")]
    (folder / "all_ans.json").write_text(json.dumps(listed))
    weights = {"weights": str(folder / "published"), "known_answers": str(folder / "all_ans.json")}
    with pytest.warns(UserNotice, match="2 of 3 answers start from those"):
        built = build(fine_tuned(folder, **weights))
    rows = torch.randn(4, 8)
    expected = system.head("question-answering")(rows)
    torch.testing.assert_close(built.system.head("vqa")(rows)[:, [0, 2]], expected[:, [0, 1]])


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({}, r"encoder.known_answers is .*, answers that a pretrained head .* knows, but there are no encoder.weights"),
        ({"recipe": "uniter-base", "weights": "x"}, "but uniter-base has none in this task; leave it out"),
    ],
)
def test_answers_that_nothing_knows_are_refused(folder: Path, encoder: dict[str, str], message: str) -> None:
    (folder / "all_ans.json").write_text('["cat", "gray"]')
    with pytest.raises(UserError, match=message):
        build(fine_tuned(folder, known_answers=str(folder / "all_ans.json"), **encoder))
