"""COCO, Visual Genome, Conceptual Captions and SBU pretrain from their own files."""

import json
import shutil

import numpy as np
import pytest

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.image_text_pairs import NO_REGIONS
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment
from tests.stores import write_regions

WORDS = "a cat sits on the mat red hat dog what is it ?"


def coco(folder):
    images = [{"id": number, "file_name": f"COCO_{number}.jpg"} for number in range(4)]
    said = [{"id": 10 + n, "image_id": n % 4, "caption": ("A cat sits.", "A red hat.")[n % 2]} for n in range(8)]
    (folder / "train.json").write_text(json.dumps({"images": images, "annotations": said}))
    return "train.json", [f"COCO_{number}.jpg" for number in range(4)], 8, 0


def karpathy(folder):
    images = [
        {"filename": f"{n}.jpg", "split": ("train", "val")[n % 2], "sentences": [{"raw": "a cat"}, {"raw": "a dog"}]}
        for n in range(4)
    ]
    (folder / "train.json").write_text(json.dumps({"images": images}))
    return "train.json", [f"{n}.jpg" for n in range(4)], 4, 0


def visual_genome(folder):
    images = [
        {"id": n, "regions": [{"region_id": 10 * n + k, "phrase": "the red hat"} for k in range(3)]} for n in range(2)
    ]
    (folder / "train.json").write_text(json.dumps(images))
    asked = [
        {"id": n, "qas": [{"qa_id": n, "image_id": n, "question": "what is it?", "answer": a}]}
        for n, a in enumerate(("A cat.", "Red."))
    ]
    (folder / "questions.json").write_text(json.dumps(asked))
    return "train.json", ["0", "1"], 6 + 2, 0


def conceptual(folder):
    (folder / "train.tsv").write_text(
        "".join(f"a cat on mat\thttp://x.org/pictures/{n}.png?size=1\n" for n in range(4))
    )
    return "train.tsv", ["0.png", "00000001"], 2, 2


def conceptual_lines(folder):
    rows = [{"image": f"train_image.zip@/0000{n}.jpg", "caption": ["a", "red", "hat"]} for n in range(3)]
    (folder / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return "train.jsonl", ["00000.jpg", "00002"], 2, 1


def sbu(folder):
    urls = [f"http://static.example.org/{n}_a.jpg" for n in range(4)]
    (folder / "train.json").write_text(json.dumps({"captions": ["a cat"] * 4, "image_urls": urls}))
    return "train.json", ["0_a.jpg", "1_a", "3"], 3, 1


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("coco-captions", coco),
        ("coco-captions", karpathy),
        ("visual-genome", visual_genome),
        ("conceptual-captions", conceptual),
        ("conceptual-captions", conceptual_lines),
        ("sbu-captions", sbu),
    ],
)
@pytest.mark.parametrize("recipe", ["uniter-base", "vlp-base"])
def test_pretraining_from_an_experiment_file(name, write, recipe, tmp_path):
    settings, count, missing = experiment(name, write, recipe, tmp_path)
    built = build(settings)
    source = built.source("train")
    assert len(source) == count and dict(built.prepared.skipped("train").reasons) == (
        {NO_REGIONS: missing} if missing else {}
    )
    batch = source.batch(range(count), seeded(0))
    assert built.model.loss(batch).isfinite()
    if recipe == "vlp-base":  # [CLS] [SEP] words [SEP]
        text = batch.by_name["masked-tokens"].inputs.text
        assert all(one.tolist()[:2] == [0, 0] and one.tolist()[-1] == 1 for one in text.layout.split(text.segments))


def experiment(name, write, recipe, folder):
    file, images, count, missing = write(folder)
    (folder / "vocab.txt").write_text("\n".join((*BERT_SPECIALS, *WORDS.split())))
    rng = np.random.default_rng(0)
    write_regions(folder / "regions", [(one, rng.normal(size=(2, 8)), np.full((2, 4), 0.5)) for one in images])
    questions = {"questions": str(folder / "questions.json")} if name == "visual-genome" else {}
    settings = {
        "name": "run",
        "objectives": {"masked-tokens": 1.0},
        "data": {
            "name": name,
            "train": str(folder / file),
            "features": str(folder / "regions"),
            "vocabulary": str(folder / "vocab.txt"),
            **questions,
        },
        "encoder": {
            "recipe": recipe,
            "sizes": {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64}
            | ({"num_region_classes": 0} if recipe == "vlp-base" else {}),
        },
        "train": {"steps": 1, "batch_size": 2},
        "out": str(folder / "runs"),
    }
    (folder / "run.yaml").write_text(json.dumps(settings))
    return config.read(Experiment, folder / "run.yaml"), count, missing


def test_a_run_trains_and_says_what_was_left_out(tmp_path):
    settings, _, _ = experiment("sbu-captions", sbu, "uniter-base", tmp_path)
    train(settings, settings.folder, progress=False)
    assert (settings.folder / "model").is_dir()


def test_a_store_of_other_images_is_named(tmp_path):
    settings, _, _ = experiment("conceptual-captions", conceptual, "uniter-base", tmp_path)
    shutil.rmtree(tmp_path / "regions")
    write_regions(tmp_path / "regions", [("other", np.ones((1, 8)), np.zeros((1, 4)))])
    with pytest.raises(
        UserError, match=r"has regions of none of the 4 images of .*train.tsv; they are looked for by names"
    ):
        build(settings).source("train")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "sbu-captions",
            '{"captions": ["a", "b"], "image_urls": ["x"]}',
            "has 2 captions but 1 image_urls; each needs",
        ),
        (
            "coco-captions",
            '{"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 2, "caption": "a"}]}',
            "names the image 2",
        ),
        ("visual-genome", "{}", "must hold a list of at least one object"),
    ],
)
def test_a_malformed_file_is_named(name, text, message, tmp_path):
    write = {"sbu-captions": sbu, "coco-captions": coco, "visual-genome": visual_genome}[name]
    settings, _, _ = experiment(name, write, "uniter-base", tmp_path)
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match=message):
        build(settings).source("train")


def test_a_line_without_an_address_is_named(tmp_path):
    settings, _, _ = experiment("conceptual-captions", conceptual, "uniter-base", tmp_path)
    (tmp_path / "train.tsv").write_text("a cat\n")
    with pytest.raises(UserError, match=r"line 1 must hold a caption and the address of its image between tabs"):
        build(settings).source("train")
