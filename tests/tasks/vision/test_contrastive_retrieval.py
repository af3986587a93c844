"""Retrieval by two towers: what is contrasted, ranked and counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm.batch import Images, Inputs
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.vision.contrastive_retrieval import ContrastiveRetrieval, PairSource
from mm_kptm.tasks.vision.retrieval import Captioned
from mm_kptm.train.evaluation import evaluate
from tests.small_towers import CLIP, SIZES


class Coloured:
    """Images of one colour each."""

    def images(self, numbers: np.ndarray, generator: torch.Generator | None = None) -> Inputs:
        self.drew = generator is not None
        pixels = torch.stack([torch.full((3, 16, 16), float(number)) for number in numbers])
        return Inputs(images=Images(pixels=pixels))


def source(ids: list[list[int]], image_of: list[int], pools: list[int], **more: object) -> PairSource:
    captions = tuple(Captioned(f"c{n}", "en", f"i{image_of[n]}") for n in range(len(pools)))
    texts = Packed.of(ids=ids, positions=[range(len(one)) for one in ids])
    return PairSource(texts, Coloured(), captions, np.array(image_of), np.array(pools), **more)


def task_with(texts: dict[int, list[float]], images: dict[int, list[float]]) -> ContrastiveRetrieval:
    system: System = mm_kptm.build("clip", seed=0, **CLIP)
    task = ContrastiveRetrieval(system)
    (towers,) = task.towers

    def text(inputs: Inputs) -> torch.Tensor:
        rows = inputs.text.ids[inputs.text.layout.starts(inputs.text.ids.device) + 1]
        return torch.tensor([texts[int(word)] for word in rows])

    def seen(inputs: Inputs) -> torch.Tensor:
        return torch.tensor([images[int(pixels.mean())] for pixels in inputs.images.pixels])

    towers.embed_text, towers.embed_visual = text, seen
    return task


def test_ranks_count_what_scores_the_same_before() -> None:
    texts = {5: [1.0, 0.0], 6: [0.0, 1.0], 7: [1.0, 0.0]}
    task = task_with(texts, {0: [1.0, 0.1], 1: [0.1, 1.0], 2: [0.1, 1.0]})
    shown = source([[2, 5, 3], [2, 6, 3], [2, 7, 3]], [0, 1, 2], [0, 0, 0])
    rows = task.predictions(shown, batch_size=2)
    ranks = {(row["type"], row["id"]): row["rank"] for row in rows}
    assert ranks["text-to-image", "c0"] == 1
    assert ranks["text-to-image", "c1"] == 2, "another image scores the same"
    assert ranks["text-to-image", "c2"] == 3
    assert ranks["image-to-text", "i0"] == 2
    assert ranks["image-to-text", "i2"] == 3
    summary = task.summary(rows)
    assert summary["text-to-image-recall@1"] == pytest.approx(1 / 3)
    assert summary["text-to-image-median-rank"] == 2
    assert summary["image-to-text-median-rank"] == 2


def test_pools_are_searched_apart_and_several_captions_share_an_image() -> None:
    texts = {5: [1.0, 0.0], 6: [0.0, 1.0], 7: [1.0, 0.2], 8: [0.3, 1.0]}
    task = task_with(texts, dict(enumerate([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])))
    shown = source([[2, 5, 3], [2, 6, 3], [2, 7, 3], [2, 8, 3], [2, 5, 3]], [0, 1, 2, 3, 0], [0, 0, 1, 1, 0])
    rows = task.predictions(shown)
    assert all(row["rank"] == 1 for row in rows), "in one pool image 2 would be mistaken for image 0"
    assert sum(row["type"] == "image-to-text" for row in rows) == 4
    assert {row["answer"] for row in rows if row["id"] == "i0"} <= {"c0", "c4"}


def test_near_misses_are_compared_with_their_caption() -> None:
    texts = {5: [1.0, 0.0], 6: [0.0, 1.0], 9: [1.0, 1.0]}
    task = task_with(texts, {0: [1.0, 0.1], 1: [1.0, 1.1]})
    shown = source(
        [[2, 5, 3], [2, 6, 3], [2, 9, 3], [2, 9, 3]], [0, 1, 0, 1], [0, 0], misses=((0, "colour"), (1, "order"))
    )
    rows = [row for row in task.predictions(shown) if str(row["type"]).startswith("near-miss")]
    assert [row["correct"] for row in rows] == [1.0, 0.0]
    assert task.summary(rows) == {"near-miss-accuracy": 0.5}


def test_a_shorter_source_keeps_what_belongs_together() -> None:
    ids = [[2, 5, 3], [2, 6, 6, 3], [2, 7, 3], [2, 8, 8, 8, 3], [2, 9, 3]]
    shown = source(ids, [0, 1, 2, 2, 0], [0, 0, 0], misses=((2, "colour"), (0, "order")))
    short = shown.first(2)
    assert (len(short), short.misses, short.image_of.tolist()) == (2, ((0, "order"),), [0, 1, 0])
    assert short.texts.lengths.tolist() == [3, 4, 3]
    assert len(shown.first(1)) == 2, "one image cannot be ranked"


def test_measures_are_one_number_a_caption() -> None:
    task = ContrastiveRetrieval(mm_kptm.build("clip", seed=0, **CLIP))
    shown = source([[2, 5, 49], [2, 6, 49], [2, 7, 49]], [0, 1, 2], [0, 0, 0], crops=True)
    measured = evaluate(task, shown, batch_size=2)
    assert measured.n == 3
    assert measured.per_example.keys() == {"loss", "in-batch-accuracy"}
    batch = shown.batch([0, 1], torch.Generator())
    assert shown.provider.drew
    shown.text(np.array([0]))
    assert len(task.predict(batch)) == 2
    task.train()
    task.loss(batch).backward()
    assert task.system.encoder.image.conv1.weight.grad is not None


def test_one_tower_cannot_be_contrasted() -> None:
    bert = mm_kptm.build("bert-base", heads=[], num_layers=1, dim=8, num_heads=2, ffn_dim=8, vocab_size=20)
    with pytest.raises(UserError, match="by two towers, which bert-base does not have; take one of the family clip"):
        ContrastiveRetrieval(bert)
    with pytest.raises(UserError, match="contrasted with others, but there is one image alone"):
        source([[2, 5, 3], [2, 6, 3]], [0, 0], [0, 0])
    task = ContrastiveRetrieval(mm_kptm.build("dual-tower", **SIZES["dual-tower"]))
    with pytest.raises(UserError, match="retrieval ranks all captions of a source, but list holds none"):
        task.predictions([])
