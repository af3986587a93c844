"""Retrieval on Atlas: what a batch holds, that it learns, and that names alone bring a language near."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.atlas.datasets.drawings import changed
from mm_kptm.suites.atlas.datasets.retrieval import PARALLEL
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.train.settings import TrainSettings
from mm_kptm.vision.contrastive.two_queues import two_towers

SIZES = {
    "embed_dim": 32,
    "image": {"patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text": {
        "recipe": "bert-base",
        "pooling": "mean",
        "dim": 32,
        "num_layers": 1,
        "num_heads": 2,
        "ffn_dim": 64,
        "dropout": 0.0,
    },
}


@cache
def built(weight: float = 1.0, **settings: object) -> Built:
    return build(
        Experiment(
            name="atlas",
            task="contrastive-retrieval",
            encoder=EncoderSettings("dual-tower", sizes=SIZES),
            data=AtlasData(image_size=24, parallel_weight=weight, **settings),
            train=TrainSettings(seed=1),
        )
    )


def test_a_batch_pairs_concepts_with_their_names():
    source = built().source("train")
    batch = source.batch(range(6), seeded(0, 0))
    assert tuple(batch.inputs.images.pixels.shape) == (6, 3, 24, 24)
    assert len(batch.inputs.text.layout) == len(batch.inputs.streams[PARALLEL].layout) == 6
    assert len({one.image for one in batch.captions}) == 6
    assert {one.language for one in batch.captions} <= set(AtlasData().languages)
    again = source.batch(range(6), seeded(0, 0))
    assert torch.equal(batch.inputs.images.pixels, again.inputs.images.pixels)
    assert not torch.equal(batch.inputs.images.pixels, source.batch(range(6), seeded(0, 1)).inputs.images.pixels)


def test_eight_concepts_are_learnt_and_a_language_without_drawings_follows():
    towers_of = built(languages=("en",), parallel_languages=("sw",), augment=False)
    model, source = towers_of.model, towers_of.source("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(60):
        loss = model.loss(source.batch(range(8), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        batch = source.batch(range(8), seeded(1, 0))
        towers = two_towers(towers_of.system)
        images = towers.embed_visual(batch.inputs.with_streams(text=None, **{PARALLEL: None}))
        other = batch.inputs.streams[PARALLEL]
        texts = towers.embed_text(batch.inputs.with_streams(images=None, text=other, **{PARALLEL: None}))
        right = towers.scores(images, texts).argmax(dim=1) == torch.arange(8)
    assert right.float().mean() >= 0.7


def test_without_parallel_names_no_such_language_is_read():
    source = built(0.0).source("train")
    assert PARALLEL not in source.batch(range(4), seeded(0, 0)).inputs.streams
    assert AtlasData(parallel_weight=0).unpaired_languages == ("ja", "sw", "tr", "th")


def test_every_split_is_measured_in_pools_of_one_language():
    prepared = built().prepared
    for split in ("test", "test-style", "test-concept", "test-subgroup", "test-lang-text", "test-lang-0", "dev"):
        source = prepared.sources[split]()
        for pool in np.unique(source.pools):
            assert len({source.captions[number].language for number in np.flatnonzero(source.pools == pool)}) == 1
    small = prepared.sources["test-subgroup"]().first(12)
    rows = built().model.predictions(small)
    assert {row["type"] for row in rows} == {"image-to-text", "text-to-image"}
    whole = built().model.predictions(prepared.sources["test-subgroup"]())
    assert len({row["id"] + row["type"] for row in whole}) == len(whole), "a drawing is asked in every language"
    assert all("/" in row["group"] for row in rows), "a row knows the family of its concept"


def test_drawings_are_changed_but_little_and_white_stays_white():
    values = torch.rand(5, 3, 16, 16)
    first, again = (changed(values, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == values.shape
    assert first.min() >= 0 and first.max() <= 1
    assert not torch.allclose(first, values, atol=0.05)


def test_a_split_without_a_language_is_refused():
    data = AtlasData(languages=AtlasData().atlas.languages, parallel_languages=(), split="lang-0")
    experiment = Experiment(
        name="all", task="contrastive-retrieval", data=data, encoder=EncoderSettings("dual-tower", sizes=SIZES)
    )
    with pytest.raises(UserError, match=r"the split lang-0 asks in languages beside .* but these name all 12; take"):
        build(experiment).source("test")
