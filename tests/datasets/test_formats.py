"""Every format of files that feeds a task: eight examples of it are read, learnt, answered, and read again without."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnImages, OwnTexts
from mm_kptm.datasets.knowledge.lama import LamaData
from mm_kptm.datasets.protocol import data_name, task_datasets
from mm_kptm.datasets.text.mention_datasets import FewRelData, FigerData, OpenEntityData, TacredData
from mm_kptm.datasets.text.uer_tsv import KbertData
from mm_kptm.datasets.text.xnli import XnliData
from mm_kptm.datasets.vision.coco_flickr30k import KarpathyData
from mm_kptm.datasets.vision.refcoco import RefCocoData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from tests.stores import write_regions

NUMBERS, COLOURS = "one two three four five six seven eight".split(), "red blue green".split()  # noqa: SIM905
WORDS = [*NUMBERS, *COLOURS, "a", "the", "in", "is", "near", "of", ".", "。", "#", "$"]
TEXTS = [f"{number} is {COLOURS[n % 3]}" for n, number in enumerate(NUMBERS)]
BOXES = [[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1], [0, 0.6, 0.3, 1]]
LINKS = [["Q1", 0, 3, 0.9]]
SIZES = {"num_layers": 1, "dim": 64, "num_heads": 2, "ffn_dim": 128, "dropout": 0.0}


def _lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def _tsv(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


@pytest.fixture
def home(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    rng = np.random.default_rng(0)
    boxes = np.array(BOXES)
    write_regions(tmp_path / "regions", [(f"{n}.jpg", rng.normal(size=(3, 16)), boxes) for n in range(8)])
    (tmp_path / "kg").mkdir()
    (tmp_path / "kg" / "entity2id.txt").write_text("2\nQ1\t0\nQ2\t1\n")
    (tmp_path / "kg" / "entity2vec.vec").write_text("0.1\t0.2\t0.3\t0.4\n0.5\t0.6\t0.7\t0.8\n")
    return tmp_path


FORMATS = {
    "xnli": lambda f: (
        "entailment",
        XnliData(
            name="xnli",
            vocabulary=f / "vocab.txt",
            train=_tsv(
                f / "train-en.tsv",
                [
                    [text, f"the {text}", ("neutral", "entailment", "contradiction")[n % 3]]
                    for n, text in enumerate(TEXTS)
                ],
            ),
        ),
    ),
    "kbert-tsv": lambda f: (
        "sentence-classification",
        KbertData(
            name="kbert-tsv",
            vocabulary=f / "vocab.txt",
            train=_tsv(f / "classes.tsv", [["label", "text_a"], *([str(n % 2), text] for n, text in enumerate(TEXTS))]),
        ),
    ),
    "lama": lambda f: (
        "cloze",
        LamaData(
            name="lama",
            vocabulary=f / "vocab.txt",
            train=_lines(
                f / "P1.jsonl",
                [
                    {"sub_label": number, "obj_label": t.split()[2], "masked_sentences": [f"{number} is [MASK]"]}
                    for number, t in zip(NUMBERS, TEXTS, strict=True)
                ],
            ),
            test=f / "P1.jsonl",
        ),
    ),
    "kbert-tsv names": lambda f: (
        "named-entities",
        KbertData(
            name="kbert-tsv",
            vocabulary=f / "vocab.txt",
            train=_tsv(
                f / "names.tsv",
                [["text_a", "label"], *([text, f"{('B-N', 'B-M')[n % 2]} O B-C"] for n, text in enumerate(TEXTS))],
            ),
        ),
    ),
    "open-entity": lambda f: (
        "entity-typing",
        OpenEntityData(
            name="open-entity",
            vocabulary=f / "vocab.txt",
            entities=f / "kg",
            train=_json(
                f / "typing.json",
                [
                    {"sent": t, "start": 0, "end": t.index(" "), "ents": LINKS, "labels": [("a", "b")[n % 2], "c"]}
                    for n, t in enumerate(TEXTS)
                ],
            ),
        ),
    ),
    "figer": lambda f: (
        "entity-typing",
        FigerData(
            name="figer",
            vocabulary=f / "vocab.txt",
            train=_lines(
                f / "figer.jsonl",
                [
                    {"tokens": t.split(), "mentions": [{"start": 0, "end": 1, "labels": [f"/{n % 3}"]}]}
                    for n, t in enumerate(TEXTS)
                ],
            ),
        ),
    ),
    "tacred": lambda f: (
        "relation-classification",
        TacredData(
            name="tacred",
            vocabulary=f / "vocab.txt",
            train=_json(
                f / "tacred.json",
                [
                    {
                        "id": f"x{n}",
                        "token": t.split(),
                        "subj_start": 0,
                        "subj_end": 0,
                        "obj_start": 2,
                        "obj_end": 2,
                        "relation": ("no_relation", "per:age")[n % 2],
                    }
                    for n, t in enumerate(TEXTS)
                ],
            ),
        ),
    ),
    "fewrel": lambda f: (
        "relation-classification",
        FewRelData(
            name="fewrel",
            vocabulary=f / "vocab.txt",
            entities=f / "kg",
            train=_json(
                f / "fewrel.json",
                {
                    f"P{side}": [
                        {"tokens": t.split(), "h": ["", "Q1", [[0]]], "t": ["", "Q2", [[2]]]} for t in TEXTS[side::2]
                    ]
                    for side in (0, 1)
                },
            ),
        ),
    ),
    "karpathy": lambda f: (
        "retrieval",
        KarpathyData(
            name="karpathy",
            vocabulary=f / "vocab.txt",
            features=f / "regions",
            captions=_json(
                f / "dataset.json",
                {
                    "images": [
                        {"filename": f"{n}.jpg", "split": "train", "sentences": [{"raw": t, "sentid": n}]}
                        for n, t in enumerate(TEXTS)
                    ]
                },
            ),
        ),
    ),
    "refcoco": lambda f: (
        "grounding",
        RefCocoData(
            name="refcoco",
            vocabulary=f / "vocab.txt",
            features=f / "regions",
            head_layers=2,
            expressions=_json(
                f / "refs.json",
                {
                    "images": [
                        {"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 50, "caption": t}
                        for n, t in enumerate(TEXTS)
                    ],
                    "annotations": [
                        {"id": n, "image_id": n, "bbox": ([0, 0, 38, 21], [48, 24, 52, 26])[n % 2]} for n in range(8)
                    ],
                },
            ),
        ),
    ),
}
OWN_TEXTS = {
    "sentence-classification": [
        {"text": t, "pair": f"a {t}", "label": ("good", "bad", "fair")[n % 3]} for n, t in enumerate(TEXTS)
    ],
    "cloze": [
        {"text": f"{t.split()[0]} is [MASK]", "answer": t.split()[2], "subject": t.split()[0], "relation": "is"}
        for t in TEXTS
    ],
    "named-entities": [{"words": t.split(), "tags": [("B-N", "B-M")[n % 2], "O", "B-C"]} for n, t in enumerate(TEXTS)],
    "entailment": [
        {"premise": t, "hypothesis": f"a {t}", "label": ("entailment", "neutral")[n % 2]} for n, t in enumerate(TEXTS)
    ],
    "entity-typing": [{"text": t, "mention": [0, t.index(" ")], "types": [f"t{n % 2}"]} for n, t in enumerate(TEXTS)],
    "relation-classification": [
        {"text": t, "head": [0, t.index(" ")], "tail": [t.rindex(" ") + 1, len(t)], "relation": f"r{n % 2}"}
        for n, t in enumerate(TEXTS)
    ],
    "parallel-sentences": [{"sentences": {"en": t, "xx": f"of {t}"}} for t in TEXTS],
}
OWN_IMAGES = {
    "vqa": [{"image": f"{n}.jpg", "question": "is it red", "answers": [("yes", "no")[n % 2]]} for n in range(8)],
    "retrieval": [{"image": f"{n}.jpg", "captions": [t]} for n, t in enumerate(TEXTS)],
    "grounding": [{"image": f"{n}.jpg", "text": t, "box": BOXES[n % 2]} for n, t in enumerate(TEXTS)],
}


def _own(task: str, rows: list[dict[str, object]]):
    def settings(f: Path):
        train = _lines(f / "own.jsonl", rows)
        if task in OWN_IMAGES:
            return task, OwnImages(name="custom-image", vocabulary=f / "vocab.txt", train=train, features=f / "regions")
        return task, OwnTexts(name="custom-text", vocabulary=f / "vocab.txt", train=train)

    return settings


CASES = FORMATS | {f"own {task}": _own(task, rows) for task, rows in (OWN_TEXTS | OWN_IMAGES).items()}


def _built(home: Path, case: str):
    task, data = CASES[case](home)
    seen = hasattr(data, "features")
    recipe = "uniter-base" if seen else "ernie-thu-base" if getattr(data, "entities", None) else "bert-base"
    sizes = SIZES | ({"entity_heads": 2} if recipe == "ernie-thu-base" else {})
    return build(Experiment("x", EncoderSettings(recipe, sizes=sizes, init_std=0.1), data, task))


def test_every_supply_from_files_is_tried_here():
    tried = set(FORMATS) | {"custom-text", "custom-image", "vqa-v2", "triples"}  # the last two have tests of their own
    tried |= {
        "gqa",
        "ok-vqa",
        "vizwiz",
        "nlvr2",
        "snli-ve",
        "visual7w",
        "vcr",
        "flickr30k-entities",
    }  # vision/test_published_tasks.py
    tried |= {"marvl", "xflickrco", "xgqa", "xvnli"}  # multilingual_vision/test_iglue.py
    tried |= {"mlqa", "pan-x", "paws-x", "tydiqa", "ud-pos", "xquad"}  # text/test_xtreme.py and the like
    tried |= {"captioned-images"}  # vision/test_captioned_images.py
    assert {data_name(supply.data) for supply in task_datasets() if supply.read is not None} <= tried


@pytest.mark.parametrize("case", CASES)
def test_eight_examples_of_a_format_are_learnt(home, case):
    built = _built(home, case)
    model, source = built.model, built.source("train")
    assert len(source) == 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    model.eval()  # published heads drop a tenth of what they read
    for step in range(200):
        loss = model.loss(source.batch(range(8), seeded(0, step % 4)))
        if step == 0:
            first = loss.item()
        if loss.item() < 0.05 * first:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
    rows = model.predictions(source, batch_size=3)
    if case != "own parallel-sentences" and "retrieval" not in case and case != "karpathy":
        assert [row["correct"] for row in rows] == [1.0] * 8
    assert all(0 <= value <= 1 for value in model.summary(rows).values())


def test_entities_reach_the_encoder_and_are_refused_where_none_are_read(home):
    batch = _built(home, "open-entity").source("train").batch([0, 1], seeded(0))
    assert batch.inputs.entities is not None and int(batch.inputs.entities.linked.sum()) == 2
    task, data = CASES["open-entity"](home)
    with pytest.raises(UserError, match=r"data.entities is .*kg, but bert-base reads no entities; leave it null"):
        build(Experiment("x", EncoderSettings("bert-base", sizes=SIZES), data, task))


@pytest.mark.parametrize("case", ["own vqa", "own entailment", "own grounding", "own entity-typing", "xnli"])
def test_examples_without_answers_are_read_for_prediction(home, case):
    built = _built(home, case)
    told = {"answers", "label", "box", "types"}
    if case == "xnli":
        path = _tsv(home / "test-de.tsv", [[text, text] for text in TEXTS[:3]])
    else:
        rows = (OWN_TEXTS | OWN_IMAGES)[case.removeprefix("own ")][:3]
        path = _lines(home / "new.jsonl", [{k: v for k, v in row.items() if k not in told} for row in rows])
    rows = built.model.predictions(built.prepared.read_file(path))
    assert len(rows) == 3 and not any("target" in row or "correct" in row for row in rows)


def test_labels_of_the_test_that_training_never_had_are_counted_as_missed(home):
    task, data = CASES["own relation-classification"](home)
    other = _lines(home / "test.jsonl", [{**OWN_TEXTS["relation-classification"][0], "relation": "new"}])
    built = build(Experiment("x", EncoderSettings("bert-base", sizes=SIZES), replace(data, test=other), task))
    (row,) = built.model.predictions(built.source("test"))
    assert (row["target"], row["correct"]) == ("new", 0.0)
    assert built.model.loss(built.source("test").batch([0], seeded(0))).item() == 0


def test_settings_that_make_no_sense_are_refused(home):
    files = {"vocabulary": home / "vocab.txt", "train": home / "x"}
    with pytest.raises(UserError, match=r"data.max_length is 5 but must be at least 8"):
        OwnTexts(name="custom-text", max_length=5, **files)
    with pytest.raises(
        UserError, match=r"data.candidate_pool_size is 1 but must be at least 2 images, or null for all"
    ):
        KarpathyData(name="karpathy", vocabulary=home, captions=home, features=home, candidate_pool_size=1)
    with pytest.raises(UserError, match=r"data.labels is yes, no but must hold contradiction, entailment, neutral"):
        XnliData(name="xnli", labels=("yes", "no"), **files)
    one = _lines(home / "one.jsonl", OWN_TEXTS["entity-typing"][:1])
    data = OwnTexts(name="custom-text", vocabulary=home / "vocab.txt", train=one)
    with pytest.raises(UserError, match=r"the training examples have 1 types; there must be two at least"):
        build(Experiment("x", EncoderSettings("bert-base", sizes=SIZES), data, "entity-typing"))
    task, data = CASES["own vqa"](home)
    with pytest.raises(UserError, match=r"0 answers are the usual one of 9 or more training questions"):
        build(Experiment("x", EncoderSettings("uniter-base", sizes=SIZES), replace(data, min_count=9), task))
    task, data = CASES["own entailment"](home)
    with pytest.raises(UserError, match=r"the example '.+' is in 'en', but data.languages has de, fr; name it there"):
        settings = Experiment(
            "x", EncoderSettings("bert-base", sizes=SIZES), replace(data, languages=("de", "fr")), task
        )
        build(settings).source("train")
