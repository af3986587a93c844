"""The way of `docs/vision.md`, on photographs that scikit-learn and scikit-image ship."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import skimage
import sklearn
import torch
from safetensors.torch import load_file as read_tensors

from mm_kptm import cli, config, experiment
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.protocol import datasets
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import Experiment

PAGE = Path(__file__).parents[2] / "docs" / "vision.md"
SHOWN = {
    "china.jpg": "temple", "flower.jpg": "flower", "astronaut.png": "woman", "chelsea.png": "cat", "coffee.png": "cup",
    "rocket.jpg": "rocket",
}  # fmt: skip
QUESTION = "what is in the picture?"
SMALL = [
    "--encoder.sizes.num_layers=2", "--encoder.sizes.dim=48", "--encoder.sizes.num_heads=2",
    "--encoder.sizes.ffn_dim=64", "--encoder.sizes.dropout=0.0", "--encoder.init_std=0.05",
    "--encoder.vision.backbone=resnet10t", "--encoder.vision.weights=none",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photographs, the files about them and the experiments of the page."""
    (tmp_path / "photos").mkdir()
    homes = (Path(sklearn.__file__).parent / "datasets" / "images", Path(skimage.__file__).parent / "data")
    for name in SHOWN:
        (file,) = (home / name for home in homes if (home / name).is_file())
        shutil.copy(file, tmp_path / "photos")
    asked = [{"image": image, "question": QUESTION, "answers": [answer]} for image, answer in SHOWN.items()]
    said = [{"image": image, "captions": [f"a {answer} in the picture"]} for image, answer in SHOWN.items()]
    for file, rows in (("questions", asked), ("captions", said)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [*BERT_SPECIALS, "what", "is", "this", "in", "the", "picture", "?", "a", *SHOWN.values()]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    for settings in blocks("yaml"):
        (tmp_path / settings.split()[1]).write_text(settings)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(file: str, *overrides: str, steps: int) -> int:
    return cli.main(["train", file, *SMALL, f"--train.steps={steps}", "--train.lr=1e-3", *overrides])


def losses(run: Path) -> list[float]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def test_each_experiment_has_twelve_lines() -> None:
    for settings in blocks("yaml")[:3]:
        assert len(settings.strip().split("\n")) - 1 <= 12


def test_photographs_are_answered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("photos.yaml", "--encoder.vision.size=64", "--train.batch_size=6", steps=20) == 0
    for command in "".join(blocks("sh")).splitlines()[1:3]:
        capsys.readouterr()
        assert cli.main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.split("\n")[2].startswith("cat ")
    moved = place / "elsewhere.png"
    (place / "photos" / "rocket.jpg").rename(moved)  # a JPEG under another name, outside the folder
    assert cli.main(["ask", "runs/photos", str(moved), QUESTION, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["answer"] == "rocket"
    saved = json.loads((place / "runs/photos/model/config.json").read_text())
    assert saved["frontends"]["pixels"]["backbone"] == "resnet10t"
    held = read_tensors(place / "runs/photos/model/model.safetensors")
    assert held["frontends.pixels.backbone.model.bn1.running_mean"].abs().sum() > 0


def test_photographs_of_all_shapes_are_retrieved(place: Path) -> None:
    shape = ["--encoder.vision.size=128", "--encoder.vision.longest=256"]
    two_stages = ["--data.rerank=2", "--data.rerank_sample=2"]
    assert trained("captions.yaml", *shape, *two_stages, "--train.batch_size=3", steps=3) == 0
    found = experiment.evaluate(place / "runs" / "captions", "train")
    assert 0 <= float(str(found["sampled-recall@1"])) <= 1
    assert 0 <= float(str(found["text-to-image-recall@1"])) <= 1
    settings = config.read(Experiment, place / "captions.yaml", [*SMALL, *shape])
    batch = build(settings).source("train").batch([0, 2, 3], torch.Generator().manual_seed(0))
    assert len(set(batch.pairs.regions.layout.lengths)) > 1


def test_photographs_are_described(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("captioning.yaml", "--encoder.vision.size=64", "--train.batch_size=6", steps=160) == 0
    train, evaluate = next(block for block in blocks("sh") if "captioning.yaml" in block).splitlines()
    assert train == "mm-kptm train captioning.yaml"
    capsys.readouterr()
    assert cli.main(shlex.split(evaluate)[1:]) == 0
    shown = capsys.readouterr().out
    assert all(measure in shown for measure in ("bleu-4", "rouge-l", "cider"))
    found = experiment.evaluate(place / "runs" / "captioning", "train")
    assert float(str(found["rouge-l"])) > 0.8  # six photographs, all but learnt by heart
    rows = map(json.loads, (place / "runs/captioning/predictions/train.jsonl").read_text().splitlines())
    assert len({row["answer"] for row in rows}) > 3  # so the words depend on the pixels


def test_pretraining_sees_random_cells_of_the_photographs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "pairs.yaml").write_text(
        """
        name: pairs
        data: {name: image-text-pairs, images: photos, train: captions.jsonl, vocabulary: vocab.txt, random_pixels: 3}
        encoder: {recipe: pixel-bert-base, vision: {size: 128, pool: 1}}
        objectives: {masked-tokens: 1.0, image-text-matching: 1.0}
        train: {batch_size: 3}
        """
    )
    assert trained("pairs.yaml", steps=2) == 0
    settings = config.read(Experiment, place / "pairs.yaml", SMALL)
    batch = build(settings).source("train").batch([0, 2, 3], torch.Generator().manual_seed(0))
    for prepared in batch.by_name.values():
        assert prepared.inputs.regions.layout.lengths == (3, 3, 3)
    capsys.readouterr()
    features = ["--objectives={masked-region-features: 1.0}", "--encoder.recipe=uniter-base"]
    assert trained("pairs.yaml", *features, "--name=second", steps=1) == 2
    assert "masked-region-features needs stored features of image regions" in capsys.readouterr().err


def test_published_data_sets_take_pictures_in_the_place_of_features(place: Path) -> None:
    images = [name for name in SHOWN if name.endswith(".png")]
    for number, name in enumerate(images):
        (place / "photos" / name).rename(place / "photos" / f"COCO_train2014_{number:012}.png")
    asked = [{"question_id": n, "image_id": n, "question": QUESTION} for n in range(len(images))]
    said = [
        {"question_id": n, "image_id": n, "question_type": "", "answer_type": "", "multiple_choice_answer": SHOWN[name],
         "answers": [{"answer": SHOWN[name], "answer_id": k} for k in range(10)]}
        for n, name in enumerate(images)
    ]  # fmt: skip
    karpathy = [
        {"filename": f"COCO_train2014_{n:012}.png", "cocoid": n, "split": "train", "imgid": n,
         "sentences": [{"raw": f"a {SHOWN[name]}", "sentid": n, "imgid": n}]}
        for n, name in enumerate(images)
    ]  # fmt: skip
    for file, content in {"q": {"questions": asked}, "a": {"annotations": said}, "k": {"images": karpathy}}.items():
        (place / f"{file}.json").write_text(json.dumps(content))
    shared = "images: photos, vocabulary: vocab.txt"
    for task, data in {
        "vqa": "{name: vqa-v2, questions: q.json, annotations: a.json, min_count: 1, " + shared + "}",
        "retrieval": "{name: karpathy, captions: k.json, " + shared + "}",
    }.items():
        (place / "published.yaml").write_text(
            f"name: published\ntask: {task}\ndata: {data}\nencoder: {{recipe: uniter-base, vision: {{size: 64}}}}\n"
        )
        built = build(config.read(Experiment, place / "published.yaml", SMALL))
        batch = built.source("train").batch([0, 1], torch.Generator().manual_seed(0))
        assert torch.isfinite(built.model.loss(batch))


def test_every_data_set_with_region_features_takes_pictures_too() -> None:
    for data in datasets():
        names = {field.name for field in fields(data)}
        assert ("features" in names) == ("images" in names), data.__name__


def test_a_run_that_was_stopped_goes_on_as_if_it_were_not(place: Path) -> None:
    small = ["--encoder.vision.size=32", "--train.batch_size=3", "--train.schedule=constant", "--train.log_every=1"]
    assert trained("photos.yaml", *small, "--name=whole", steps=4) == 0
    assert trained("photos.yaml", *small, "--name=halves", steps=2) == 0
    settings = config.read(
        Experiment, place / "photos.yaml", [*SMALL, *small, "--name=halves", "--train.steps=4", "--train.lr=1e-3"]
    )
    experiment.train(settings, place / "runs" / "halves", resume=True, progress=False)
    whole, halves = (read_tensors(place / "runs" / name / "model/model.safetensors") for name in ("whole", "halves"))
    assert whole.keys() == halves.keys() and all(torch.equal(value, halves[name]) for name, value in whole.items())
    assert losses(place / "runs" / "whole") == losses(place / "runs" / "halves")


def test_a_system_with_random_weights_is_asked_by_pixels_and_by_features(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [command for command in blocks("sh") if command.startswith("mm-kptm ask")]
    assert len(asked) == 2
    for command in asked:
        assert cli.main([*shlex.split(command)[1:], "--sizes", "num_layers=1", "--size", "64", "--json"]) == 0
        shares = [row["probability"] for row in json.loads(capsys.readouterr().out)]
        assert len(shares) == 2 and sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--data.features=regions"], "but both are given; name data.features or data.images"),
        (["--data.images=null"], "but none is given; name data.features or data.images"),
        (["--encoder.vision=null"], "say what makes them as encoder.vision, such as {backbone: resnet50}"),
        (["--data.images=null", "--data.features=regions"], "encoder.vision makes regions of pictures, but data.feat"),
        (["--data.images=nowhere"], "pictures were looked for in nowhere, which is no folder"),
        (["--encoder.vision.backbone=resnet19"], "timm has no backbone 'resnet19'; did you mean resnet18?"),
        (["--encoder.vision.backbone=patches", "--encoder.vision.weights=w.pt"], "are raw pixels and take no weights"),
        (["--encoder.vision.weights=gone.pt"], "encoder.vision.weights is gone.pt, which is no file; give one of timm"),
        (["--encoder.recipe=bert-base"], "bert-base does not read regions"),
    ],
)
def test_settings_that_do_not_fit_are_said_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    small = [one for one in SMALL if one.partition("=")[0] not in {other.partition("=")[0] for other in overrides}]
    if "--encoder.vision=null" in overrides:
        small = [one for one in small if "vision" not in one]
    assert cli.main(["train", "photos.yaml", *small, *overrides, "--train.steps=1"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said


def test_a_broken_or_missing_picture_ends_with_its_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos" / "coffee.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert trained("photos.yaml", "--encoder.vision.size=32", "--train.batch_size=6", steps=1) == 2
    assert "photos/coffee.png" in capsys.readouterr().err
    (place / "photos" / "coffee.png").unlink()
    assert trained("photos.yaml", "--name=second", "--encoder.vision.size=32", steps=1) == 2
    assert "photos has no picture 'coffee.png'; it holds 5 pictures" in capsys.readouterr().err


def test_what_cannot_be_asked_is_said(place: Path) -> None:
    from mm_kptm.experiment.settings import VisionSettings
    from mm_kptm.experiment.visual.ask import ask_fresh, ask_run

    photo, by = place / "photos" / "chelsea.png", VisionSettings("patches", size=32)
    with pytest.raises(UserError, match="1 answers were given; give two or more different ones"):
        ask_fresh("uniter-base", photo, "what?", ["cat", "cat"], by=by)
    with pytest.raises(UserError, match="bert-base reads no pictures, so it cannot be asked about one"):
        ask_fresh("bert-base", photo, "what?", ["cat", "cup"], by=by)
    with pytest.raises(UserError, match=r"picture nowhere\.jpg is not there"):
        ask_fresh("uniter-base", Path("nowhere.jpg"), "what?", ["cat", "cup"], by=by)
    with pytest.raises(UserError, match="photos is a folder, but one picture was asked for"):
        ask_fresh("uniter-base", photo.parent, "what?", ["cat", "cup"], by=by)
    with pytest.raises(UserError, match="the question is blank; ask something about the picture"):
        ask_run(place, photo, "  ")
    assert cli.main(["ask", "uniter-base", str(photo), "what?", "--answers", "cat", "cup"]) == 2
    assert (
        cli.main(["ask", "uniter-base", str(photo), "what?", "--pixels", "patches", "--sizes", "num_layers=two"]) == 2
    )


def test_every_experiment_of_the_page_is_one(place: Path) -> None:
    for settings in blocks("yaml"):
        assert config.read(Experiment, place / settings.split()[1]).task in ("vqa", "retrieval", "captioning")
