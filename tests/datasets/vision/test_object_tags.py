"""Names of objects behind questions and captions, as Oscar reads them: those of the image that is held against them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import Experiment
from tests.datasets.vision.conftest import SIZES

IMAGES = ("a.jpg", "b.jpg", "c.jpg")
QUESTIONS = [
    {"image": name, "question": "what is it ?", "answers": [said]}
    for name, said in zip(IMAGES, ("yes", "no", "a"), strict=True)
]
CAPTIONS = [{"image": name, "captions": ["a cat sits on the mat"]} for name in IMAGES]
Store = Callable[..., Path]


def settings(
    folder: Path, vocabulary: Path, store: Path, rows: list[dict[str, Any]], task: str, recipe: str, **data: Any
) -> Experiment:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = {split: str(folder / "rows.jsonl") for split in ("train", "test")}
    files = {**both, "features": str(store), "vocabulary": str(vocabulary)}
    encoder = {"recipe": recipe, "sizes": SIZES}
    said = {"name": "x", "task": task, "data": {"name": "custom-image", "tags": True, **files, **data}}
    said |= {"encoder": encoder, "train": {"steps": 1, "batch_size": 3}, "out": str(folder / "runs")}
    (folder / "x.yaml").write_text(json.dumps(said))
    return config.read(Experiment, folder / "x.yaml")


def words(built: Built, ids: torch.Tensor, vocabulary: Path) -> list[str]:
    listed = vocabulary.read_text().splitlines()
    return [listed[id_] for id_ in ids.tolist()]


def test_a_question_is_followed_by_what_the_detector_saw(tmp_path: Path, vocabulary: Path, regions: Store) -> None:
    asked = settings(tmp_path, vocabulary, regions(IMAGES, objects=True), QUESTIONS, "vqa", "oscar-base")
    built = build(asked)
    text = built.source("train").batch([0, 1], seeded(0, 0)).inputs.text
    first, second = (words(built, ids, vocabulary) for ids in text.layout.split(text.ids))
    assert first == ["[CLS]", "what", "is", "it", "?", "[SEP]", "cat", "dog", "[SEP]"]
    assert second == ["[CLS]", "what", "is", "it", "?", "[SEP]", "cat", "dog", "man", "[SEP]"]
    (kinds, _), (places, _) = (list(text.layout.split(column)) for column in (text.segments, text.positions))
    assert kinds.tolist() == [0] * 6 + [1] * 3 and places.tolist() == [*range(9)]
    train(asked, asked.folder, progress=False)
    assert evaluate(asked.folder, "test")["n"] == 3


def test_a_caption_is_followed_by_the_names_of_the_image_that_it_is_held_against(
    tmp_path: Path, vocabulary: Path, regions: Store
) -> None:
    """Not by those of its own image, which would tell which one that is."""
    store = regions(IMAGES, objects=True)
    asked = settings(tmp_path, vocabulary, store, CAPTIONS, "retrieval", "oscar-base")
    built = build(asked)
    shown = built.source("test").shown
    for image, names in enumerate(("cat dog", "cat dog man", "cat dog man hat")):
        text = shown.with_images(np.array([0]), np.array([image])).text
        assert words(built, text.ids, vocabulary) == f"[CLS] a cat sits on the mat [SEP] {names} [SEP]".split()
    train(asked, asked.folder, progress=False)
    assert 0 <= float(str(evaluate(asked.folder, "test")["text-to-image-recall@1"])) <= 1


def test_where_there_is_no_place_for_names_a_sentence_says_so(tmp_path: Path, vocabulary: Path, regions: Store) -> None:
    bare, named = (lambda: regions(IMAGES)), (lambda: regions(IMAGES, objects=True))
    cases: list[tuple[Any, str, str, dict[str, Any], str]] = [
        (bare, "vqa", "oscar-base", {}, "data.tags are names of objects, but .* holds no object_names.npy"),
        (named, "vqa", "vl-bert-base", {}, r"but this system ends its questions with a \[MASK\]; leave data.tags fal"),
        (named, "retrieval", "vlp-base", {}, "but this system puts the image before its texts; leave data.tags false"),
        (named, "retrieval", "oscar-base", {"rerank": 2}, "but data.rerank is 2, with which texts are encoded without"),
    ]
    for store, task, recipe, data, message in cases:
        rows = QUESTIONS if task == "vqa" else CAPTIONS
        with pytest.raises(UserError, match=message):
            build(settings(tmp_path, vocabulary, store(), rows, task, recipe, **data)).source("train")
