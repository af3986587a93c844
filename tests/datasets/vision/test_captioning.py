"""Captioning from Karpathy's file and a store of regions to the scores and the file of the server."""

import json

import pytest
import torch

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.vision.captioning import captioning, check_captions
from mm_kptm.datasets.vision.coco_flickr30k import KarpathyData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.predict import submit
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.systems.discovery import find
from mm_kptm.vision.features.store import RegionStore
from tests.datasets.vision.conftest import SIZES

SPLITS = ("train", "restval", "val", "test")


@pytest.fixture
def images(tmp_path):
    listed = [
        {
            "filename": f"COCO_{number}.jpg",
            "cocoid": 40 + number,
            "split": SPLITS[number % 4],
            "sentences": [
                {"raw": text, "sentid": 10 * number + at}
                for at, text in enumerate(("A cat sits on the mat.", "A red hat"))
            ],
        }
        for number in range(8)
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": listed}))
    return [one["filename"] for one in listed]


def experiment(folder, recipe, **data):
    settings = {
        "name": "captions",
        "task": "captioning",
        "data": {
            "name": "karpathy",
            "captions": str(folder / "dataset_coco.json"),
            "features": str(folder / "regions"),
            "vocabulary": str(folder / "vocab.txt"),
            "caption_length": 8,
            "beam_size": 2,
            **data,
        },
        "encoder": {"recipe": recipe, "sizes": SIZES},
        "train": {"steps": 2, "batch_size": 4},
        "out": str(folder / "runs"),
    }
    (folder / "captions.yaml").write_text(json.dumps(settings))
    return config.read(Experiment, folder / "captions.yaml")


@pytest.mark.parametrize(("recipe", "tags"), [("vlp-base", False), ("oscar-base", True)])
def test_an_experiment_file_trains_scores_and_submits(recipe, tags, tmp_path, images, vocabulary, regions):
    regions(images, objects=True)
    settings = experiment(tmp_path, recipe, tags=tags)
    built = train(settings, settings.folder, progress=False)
    assert len(built.source("train")) == 8  # two captions of each of four images
    found = evaluate(settings.folder, "dev")
    assert found["n"] == 2
    assert {"bleu-1", "bleu-4", "rouge-l", "cider", "cider-d", "loss"} <= found.keys()
    (path,) = submit(settings.folder, split="test")
    assert {entry["image_id"] for entry in json.loads(path.read_text())} == {43, 47}


@pytest.mark.parametrize("classes", [0, 5])
def test_vlp_reads_what_a_detector_said_where_it_is_stored(classes, tmp_path, images, vocabulary, regions):
    """The geometry of its regions holds the distribution over classes and the confidence (Zhou et al. 2020)."""
    regions(images, classes=classes)
    built = train(experiment(tmp_path, "vlp-base"), tmp_path / "run", progress=False)
    assert built.system.encoder.embed.regions.num_classes == classes
    read = built.source("train").batch([0], seeded(0)).targets.inputs.regions
    if classes:
        stored = RegionStore(tmp_path / "regions").columns["confidences"]
        assert read.classes.shape == (2, classes) and read.objects.confidence.tolist() == stored[:2].tolist()
        assert torch.equal(read.objects.ids, read.classes[:, 1:].argmax(1))
    else:
        assert read.classes is None and read.objects is None
    assert evaluate(tmp_path / "run", "dev")["n"] == 2


def test_others_do_not_read_classes_from_the_disk(tmp_path, images, vocabulary, regions):
    regions(images, classes=5)
    built = build(experiment(tmp_path, "oscar-base"))
    assert built.source("train").batch([0], seeded(0)).targets.inputs.regions.classes is None


def test_tags_stand_behind_the_longest_caption(tmp_path, images, vocabulary, regions):
    data = experiment(tmp_path, "oscar-base", tags=True).data
    regions(images, objects=True)
    source = captioning(data, DataRequest(find("oscar-base"))).sources["train"]()
    batch = source.batch([0], seeded(0))
    text = batch.targets.inputs.text
    words = ("[CLS]", "a", "cat", "sits", "on", "the", "mat", "[SEP]")  # cut to 7 pieces and the end
    names = ("cat", "dog", "[SEP]")
    assert text.segments.tolist() == [0] * (len(words) + 1) + [1] * len(names)
    assert text.positions.tolist() == [*range(len(words) + 1), 9, 10, 11]
    assert batch.tags == source.tags[:1] and len(batch.tags[0]) == len(names)


def test_what_cannot_be_done_is_said(tmp_path, images, vocabulary, regions):
    regions(images)
    with pytest.raises(UserError, match=r"data.tags are names of objects, but .*regions holds no object_names.npy"):
        captioning(experiment(tmp_path, "oscar-base", tags=True).data, DataRequest(find("oscar-base")))
    with pytest.raises(
        UserError, match=r"data.tags stand behind a caption, but vlp reads captions alone; leave data.tags"
    ):
        captioning(experiment(tmp_path, "vlp-base", tags=True).data, DataRequest(find("vlp-base")))
    with pytest.raises(UserError, match=r"data.beam_size is 0 but must be at least 1"):
        experiment(tmp_path, "vlp-base", beam_size=0)
    given = {"captions": tmp_path / "x", "features": tmp_path, "vocabulary": vocabulary}
    with pytest.raises(
        UserError, match=r"data.candidate_pool_size is 1 but must be at least 2 images, or null for all"
    ):
        KarpathyData(name="karpathy", candidate_pool_size=1, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{**rows[0], "score": 1}], "entry 1 must have the fields image_id and caption and no other"),
        (lambda rows: [*rows, rows[0]], "entry 3: image 43 was described before"),
        (lambda rows: [{"image_id": 7, "caption": "a"}], "entry 1: image 7 is not one of the split"),
        (lambda rows: rows[1:], "describes 1 images not at all, the first of them 43"),
        (lambda rows: [{"image_id": "43", "caption": "a"}], "'image_id' must be a whole number"),
    ],
)
def test_a_file_that_the_server_would_refuse_is_refused(change, message, tmp_path):
    from mm_kptm.data.formats.captions import Described

    asked = [Described((f"{number}.jpg", str(number)), ()) for number in (43, 47)]
    rows = [{"image_id": number, "caption": "a cat"} for number in (43, 47)]
    (tmp_path / "s.json").write_text(json.dumps(change(rows)))
    with pytest.raises(UserError, match=message):
        check_captions(tmp_path / "s.json", asked)
    (tmp_path / "s.json").write_text(json.dumps(rows))
    check_captions(tmp_path / "s.json", asked)
