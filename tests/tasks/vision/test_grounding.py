"""Referring expressions point at regions of their own image, by the overlap that counts."""

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm.data.formats.captions import Pointed
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import other_sources as texts
from mm_kptm.suites.number_world.generator import captions
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.vision.grounding import NOWHERE, Grounding
from tests.stores import write_regions

SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 16, "vocab_size": 6, "region_dim": 4}
READING = TextEncoding(WordPiece((*BERT_SPECIALS, "cat"), lowercase=True), 20)


def test_a_number_of_the_scene_is_the_target():
    scenes, pointed = captions.referring(part("iid", "train"), 10, RandomStream(0), numbers=20)
    source = texts.expressions(texts.seen(scenes, "true", RandomStream(0)), pointed)
    batch = source.batch([4, 2, 7], seeded(0))
    layout, _ = batch.inputs.repeat_shared()
    assert [rows.nonzero().item() for rows in layout.split(batch.right)] == batch.targets.tolist()
    assert batch.targets.tolist() == [pointed[n].target for n in (4, 2, 7)]


@pytest.fixture
def store(tmp_path):
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 0.5, 0.9], [0.5, 0, 1, 1]])
    return write_regions(tmp_path, [("a.jpg", np.ones((3, 4)), boxes), ("b.jpg", np.ones((0, 4)), boxes[:0])])


def test_regions_count_that_overlap_the_object_by_half(store):
    given = [("x", (0.0, 0.0, 0.5, 0.95)), ("y", (0.4, 0.4, 0.6, 0.6)), ("z", None)]
    source = image_sources.expressions([Pointed(id_, ("?", "a.jpg"), "cat", box) for id_, box in given], READING, store)
    batch = source.batch([0, 1, 2], seeded(0))
    assert batch.right.view(3, 3).tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert batch.targets.tolist() == [0, NOWHERE, NOWHERE]
    assert [about.target for about in batch.about] == ["0", "none", ""]
    system = mm_kptm.build("uniter", heads=["grounding"], **SIZES)
    task = Grounding(system.eval())
    alone = task.loss(source.batch([1], seeded(0)))
    assert alone.item() == 0  # nothing to learn from, and no NaN
    right = {row["id"]: row.get("correct") for row in task.predictions(source)}
    assert right["y"] == 0.0 and right["z"] is None  # no region fits; where it points is not known
    assert batch.labelled == (True, True, False)
    assert {about.type for about in batch.about} == {"expression"}


def test_the_loss_is_the_cross_entropy_over_the_own_image(store):
    pointed = [
        Pointed("x", ("a.jpg",), "cat", (0.0, 0.0, 0.5, 1.0)),
        Pointed("y", ("a.jpg",), "cat", (0.5, 0.0, 1.0, 1.0)),
    ]
    source = image_sources.expressions(pointed, READING, store)
    system = mm_kptm.build(
        "uniter", dim=16, num_heads=2, num_layers=1, ffn_dim=16, vocab_size=6, region_dim=4, heads=[]
    )
    task = Grounding(system).eval()
    batch = source.batch([0, 1], seeded(0))
    scores = task(batch.inputs).view(2, 3)
    torch.testing.assert_close(task.loss(batch), -scores.log_softmax(1)[[0, 1], [0, 2]].mean())


def test_an_image_without_regions_is_named(store):
    with pytest.raises(UserError, match=r"has no region of image 'b.jpg', so there is nothing to point at"):
        image_sources.expressions([Pointed("x", ("b.jpg",), "cat", None)], READING, store)
    with pytest.raises(UserError, match=r"has no regions of image 'c.jpg'; it holds 2 images"):
        image_sources.expressions([Pointed("x", ("c.jpg",), "cat", None)], READING, store)
