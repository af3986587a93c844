"""Two towers are measured as they are: by names of classes, by labelled pictures, by pairs that differ in little."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.vision.labelled_images import (
    LabelledImages,
    MinimalPairFiles,
    image_retrieval,
    minimal_pairs,
    probe,
    zero_shot,
)
from mm_kptm.errors import UserError
from mm_kptm.systems.text_tokenizer import TextTokenizer
from mm_kptm.tasks.vision.two_towers.linear_probe import LinearProbe, NearestNeighbours
from mm_kptm.tasks.vision.two_towers.zero_shot import ClassNames, ZeroShotClassification

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
WORDS = {**COLOURS, "rot": COLOURS["red"], "grün": COLOURS["green"], "blau": COLOURS["blue"], "scarlet": (255, 40, 40)}


class Towers(nn.Module):
    """The mean colour of a picture, and of the colours that a text names; the first counts more."""

    has_tokenizer = False

    def encode_text(self, texts):
        found = []
        for text in texts:
            named = [torch.tensor(WORDS[word]).float() for word in text.split() if word in WORDS]
            found.append(sum((one / place for place, one in enumerate(named, 1)), torch.full((3,), 9.0)))
        return F.normalize(torch.stack(found), dim=-1)

    def encode_images(self, images):
        return F.normalize(
            torch.stack([torch.from_numpy(np.array(one)).float().mean((0, 1)) + 9 for one in images]), dim=-1
        )


def paint(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), tuple(colour)).save(path)


@pytest.fixture
def folder(tmp_path):
    draws = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for label, colour in COLOURS.items():
            for number in range(count):
                noisy = np.clip(np.array(colour) * 0.7 + draws.integers(0, 70, 3), 0, 255)
                paint(tmp_path / split / label / f"{number}.png", noisy.astype(int).tolist())
    return tmp_path


def data(folder, **more):
    return LabelledImages(name="labelled-images", test=folder / "test", **more)


def measured(prepared, split="test"):
    task = prepared.model(Towers())
    rows = task.predictions(prepared.sources[split]())
    return rows, task.summary(rows)


def test_classes_are_named_in_several_languages(folder):
    names = {"en": {"red": ["red", "scarlet"], "green": "green", "blue": "blue"}}
    names["de"] = {"red": "rot", "green": "grün", "blue": "blau"}
    (folder / "classes.json").write_text(json.dumps(names))
    prompts = {"en": ("a {} wall", "{}"), "de": ("eine Wand in {}",)}
    rows, summary = measured(zero_shot(data(folder, classes=folder / "classes.json", prompts=prompts), None))
    assert len(rows) == 24 and {row["language"] for row in rows} == {"en", "de"}
    assert summary == {"top-5-accuracy": 1.0, "mean-per-class-accuracy": 1.0}
    assert len({row["group"] for row in rows}) == 12, "the languages of a picture are not independent of each other"
    names["de"]["red"], names["de"]["blue"] = "blau", "rot"
    (folder / "classes.json").write_text(json.dumps(names))
    rows, _ = measured(zero_shot(data(folder, classes=folder / "classes.json"), None))
    right = {language: [row["correct"] for row in rows if row["language"] == language] for language in ("en", "de")}
    assert np.mean(right["en"]) == 1 and np.mean(right["de"]) == pytest.approx(1 / 3)


def test_a_class_is_the_mean_of_its_normalised_sentences():
    classes = ClassNames("en", {"red": ("red", "scarlet"), "blue": ("blue",)}, ("a {}", "{} green"))
    task = ZeroShotClassification(Towers(), [classes])
    each = Towers().encode_text(["a red", "red green", "a scarlet", "scarlet green"])
    torch.testing.assert_close(task.class_vectors("en")[0], F.normalize(each.mean(0), dim=0))


@pytest.mark.parametrize("form", ["folder", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("task", [LinearProbe, NearestNeighbours])
def test_labels_are_learnt_from_frozen_vectors(folder, task, form):
    if form == "folder":
        train = folder / "train"
    else:
        files = (folder / "train").rglob("*.png")
        rows = [("train/" + path.relative_to(folder / "train").as_posix(), path.parent.name) for path in files]
        tab = {"csv": ",", "tsv": "\t"}.get(form)
        lines = [json.dumps({"image": a, "label": b}) if tab is None else tab.join((a, b)) for a, b in rows]
        train = folder / f"train.{form}"
        train.write_text("\n".join([*([] if tab is None else [tab.join(("image", "label"))]), *lines]) + "\n")
    prepared = probe(data(folder, train=train), None, task=task)
    rows, _ = measured(prepared)
    assert np.mean([row["correct"] for row in rows]) == 1 and len(rows) == 12
    batch = prepared.sources["test"]().batch([3, 7], seeded(0))
    model = prepared.model(Towers())
    assert [row["answer"] for row in model.predict(batch)] == [rows[3]["answer"], rows[7]["answer"]]
    assert model.measure(batch)["accuracy"].tolist() == [1.0, 1.0]


def test_neighbours_vote_by_their_weight():
    vectors = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0], [0.2, 1.0]]), dim=1)
    task = NearestNeighbours(Towers(), lambda: None)
    asked = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=1)
    assert task.answers(vectors, ["a", "a", "b", "b", "b"], asked) == ["a", "b"]
    weights = torch.exp(asked[0] @ vectors.T / 0.07)
    assert weights[:2].sum() > weights[2:].sum()


def test_pictures_find_pictures_of_their_class(folder):
    rows, summary = measured(image_retrieval(data(folder), None))
    assert summary == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "median-rank": 1, "mean-average-precision": 1}
    paint(folder / "test/red/blue-one.png", (0, 0, 255))
    rows, summary = measured(image_retrieval(data(folder), None))
    odd = next(row for row in rows if row["id"].endswith("blue-one.png"))
    assert odd["rank"] >= 5 and odd["answer"] == "blue" and summary["recall@1"] < 1
    hits = np.arange(1, 5) / np.sort([odd["rank"], *range(9, 13)])[:4]
    assert 0 < odd["average_precision"] <= hits.mean()


def test_minimal_pairs_have_the_scores_of_winoground(tmp_path):
    paint(tmp_path / "rg.png", (255, 128, 0))  # red first, then green
    paint(tmp_path / "gr.png", (128, 255, 0))
    paint(tmp_path / "grey.png", (90, 90, 90))
    right = {"image_0": "rg.png", "image_1": "gr.png", "caption_0": "red green", "caption_1": "green red"}
    swapped = {**right, "caption_0": "green red", "caption_1": "red green", "type": "swapped"}
    blind = {**right, "image_0": "grey.png", "image_1": "grey.png"}
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(one) for one in (right, swapped, blind)))
    prepared = minimal_pairs(MinimalPairFiles(name="minimal-pair-images", test=tmp_path / "pairs.jsonl"), None)
    rows, summary = measured(prepared)
    assert [(row["text-score"], row["image-score"], row["correct"]) for row in rows] == [
        (1, 1, 1),
        (0, 0, 0),
        (0, 0, 0),
    ]
    assert summary == {name: pytest.approx(1 / 3) for name in ("text-score", "image-score", "group-score")}
    assert rows[1]["type"] == "swapped"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "classes.json names no class; it must hold a list of labels, or names by label"),
        ({}, "classes.json names no class"),
        (["red"], "the list of classes .en. has 1 of them; there must be two at least"),
        ({"red": "red", "green": ""}, "the class 'green' has no name"),
        ({"red": "red", "green": []}, r"names the class 'green' by \[\]; a text, or a list of them"),
        ({"en": {"red": "red", "green": "g"}, "de": {"red": "rot", "blue": "b"}}, "in de and en differ by 'blue'"),
        (["red", "green"], "a picture of test has the label 'blue', which .*classes.json does not name"),
    ],
)
def test_a_list_of_classes_that_cannot_be_used(folder, classes, message):
    (folder / "classes.json").write_text(json.dumps(classes))
    with pytest.raises(UserError, match=message):
        zero_shot(data(folder, classes=folder / "classes.json"), None).sources["test"]()


def test_other_mistakes(folder):
    with pytest.raises(UserError, match=r"prompts have \{\} where the name of a class stands, but there is 'a wall'"):
        zero_shot(data(folder, prompts={"en": ("a wall",)}), None)
    with pytest.raises(UserError, match=r"data.prompts are in fr, but classes are named in en"):
        zero_shot(data(folder, prompts={"fr": ("{}",)}), None)
    with pytest.raises(UserError, match=r"linear-probe learns from labelled pictures; name them as data.train"):
        probe(data(folder), None, task=LinearProbe)
    paint(folder / "test/loose.png", (0, 0, 0))
    with pytest.raises(UserError, match=r"loose.png lies in .*test itself; every picture belongs into the folder"):
        data(folder).labelled("test")
    (folder / "x.csv").write_text("image,name\na.png,b\n")
    with pytest.raises(UserError, match=r"x.csv has no column 'label'; it has image, name"):
        LabelledImages(name="labelled-images", test=folder / "x.csv").labelled("test")


EXPERIMENT = """
name: {name}
task: {task}
data: {{name: labelled-images, test: test, train: train}}
encoder: {{recipe: dual-tower, weights: towers}}
train: {{steps: 0}}
"""


@pytest.mark.parametrize("task", ["zero-shot-classification", "linear-probe", "nearest-neighbours", "image-retrieval"])
def test_towers_are_measured_from_an_experiment_file(folder, monkeypatch, capsys, task):
    monkeypatch.chdir(folder)
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *COLOURS]))
    text = {"recipe": "bert-base", "num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 16, "max_positions": 80}
    image = {"layers": 1, "width": 8, "head_width": 4, "patch_size": 4, "mlp_ratio": 2.0}
    towers = mm_kptm.build("dual-tower", embed_dim=8, image=image, text=text, image_size=8, vocab_size=8, seed=0)
    towers.tokenizer = TextTokenizer(Path("vocab.txt"), max_length=16, vocab_size=8)
    mm_kptm.save(towers, "towers")
    (folder / "x.yaml").write_text(EXPERIMENT.format(name="x", task=task))
    assert cli.main(["train", "x.yaml"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert cli.main(["evaluate", "runs/x", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 12 and 0 <= found["accuracy"] <= 1
    rows = [json.loads(line) for line in Path("runs/x/predictions/test.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and np.mean([row["correct"] for row in rows]) == pytest.approx(found["accuracy"])
    (folder / "x.yaml").write_text(EXPERIMENT.format(name="y", task=task).replace("steps: 0", "steps: 3"))
    assert cli.main(["train", "x.yaml"]) == 2
    assert "measures towers as they are; let train.steps be 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no tokenizer", r"this dual-tower has no tokenizer: load it from a folder with"),
        ("no class", r"classes.json names no class; it must hold a list of labels, or names by label"),
        ("no picture", r"test holds no picture|no readable picture|has no picture"),
    ],
)
def test_bad_input_ends_a_command_with_one_sentence(folder, monkeypatch, capsys, spoil, message):
    monkeypatch.chdir(folder)
    text = {"recipe": "bert-base", "num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 16, "max_positions": 80}
    image = {"layers": 1, "width": 8, "head_width": 4, "patch_size": 4, "mlp_ratio": 2.0}
    mm_kptm.save(
        mm_kptm.build("dual-tower", embed_dim=8, image=image, text=text, image_size=8, vocab_size=8, seed=0), "towers"
    )
    experiment = EXPERIMENT.format(name="x", task="zero-shot-classification")
    if spoil == "no class":
        (folder / "classes.json").write_text("[]")
        experiment = experiment.replace("train: train}", "train: train, classes: classes.json}")
    if spoil == "no picture":
        for path in (folder / "test").rglob("*.png"):
            path.unlink()
    (folder / "x.yaml").write_text(experiment)
    code = cli.main(["train", "x.yaml"]) or cli.main(["evaluate", "runs/x"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and re.search(message, said), said
