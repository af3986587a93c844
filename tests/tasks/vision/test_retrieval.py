"""Retrieval draws other images and texts, and ranks all pairs of a pool."""

import numpy as np
import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import Encoded
from mm_kptm.data.packing import Packed
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import other_sources as texts
from mm_kptm.suites.number_world.generator import captions
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.systems.discovery import find
from mm_kptm.systems.system import System
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.retrieval import Captioned, CaptionSource, Retrieval, choice, margin


@pytest.fixture(scope="module")
def described():
    return captions.captions(part("iid", "train"), 12, RandomStream(0), numbers=20, languages=("en", "de"))


@pytest.fixture(scope="module")
def source(described):
    scenes, made = described
    return texts.captions(texts.seen(scenes, "true", RandomStream(1)), made, ("en", "de"), pool=3)


class Oracle(nn.Module):
    """Scores a pair by one number of its text against one of its image: 0 where they agree."""

    dim = 1

    def forward(self, inputs, output_rows):
        said = torch.stack([rows[1] for rows in inputs.text.layout.split(inputs.text.ids)]).float()
        layout, rows = inputs.repeat_shared()
        features = inputs.regions.features[rows][:, 0] * 255
        shown = torch.stack([one[0] for one in layout.split(features)])
        return Encoded({}, -(said - shown).abs()[:, None])


def told(said, shown, about, pools):
    """A source whose captions say one number and whose images show one."""
    shown_texts = Packed.of(ids=[[0, n] for n in said], positions=[[0, 1]] * len(said))
    pictures = RegionCrops(
        np.array(shown, np.uint8)[:, None], np.zeros((len(shown), 4), np.float32), np.arange(len(shown) + 1)
    )
    names = tuple(Captioned(f"c{n}", "en", f"i{image}") for n, image in enumerate(about))
    return CaptionSource(InputSource(shown_texts, pictures, np.array(about)), names, np.array(pools))


def oracle():
    head = nn.Linear(1, 1)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    return Retrieval(System(Oracle(), {"retrieval": head}, recipe="oracle", sizes={}, head_sizes={}))


def test_ranks_are_counted_within_the_pool_in_both_directions():
    # captions 0 and 1 are about image 0; caption 2, about image 1, says what image 0 shows; another pool is not seen
    rows = oracle().predictions(told([5, 9, 5, 5, 6], [5, 7, 5, 6], [0, 0, 1, 2, 3], [0, 0, 0, 1, 1]))
    found = {(row["type"], row["id"]): (row["rank"], row["correct"], row["answer"]) for row in rows}
    assert found == {
        ("text-to-image", "c0"): (1, 1.0, "i0"),
        ("text-to-image", "c1"): (2, 0.0, "i1"),
        ("text-to-image", "c2"): (2, 0.0, "i0"),
        ("text-to-image", "c3"): (1, 1.0, "i2"),
        ("text-to-image", "c4"): (1, 1.0, "i3"),
        ("image-to-text", "i0"): (2, 0.0, "c0"),  # a wrong caption scores the same and stands before
        ("image-to-text", "i1"): (3, 0.0, "c0"),
        ("image-to-text", "i2"): (1, 1.0, "c3"),
        ("image-to-text", "i3"): (1, 1.0, "c4"),
    }
    summary = oracle().summary(rows)
    assert summary["text-to-image-recall@1"] == 3 / 5 and summary["text-to-image-recall@5"] == 1
    assert summary["image-to-text-recall@1"] == 2 / 4 and "near-miss-accuracy" not in summary


def spelt(batch):
    """The ids of all pairs: the right ones, those with other images, those with other texts."""
    said = [rows.tolist() for rows in batch.pairs.text.layout.split(batch.pairs.text.ids)]
    return [said[place] for place in batch.places.tolist()]


def test_what_is_drawn_is_never_the_own_image(source):
    for seed in range(20):
        batch = source.batch(range(12), seeded(seed))
        own, others, again = batch.pairs.image_of[batch.places].view(3, 12)
        assert (own != others).all() and (own == again).all()
        words = spelt(batch)
        assert all(right != wrong for right, wrong in zip(words[:12], words[24:], strict=True))
    one, other = (source.batch([3, 1], seeded(7)).pairs for _ in range(2))
    assert torch.equal(one.text.ids, other.text.ids)


def test_pairs_stand_in_order_of_length(source):
    pairs = source.batch(range(12), seeded(0)).pairs
    shown, _ = pairs.repeat_shared()
    lengths = [sum(two) for two in zip(pairs.text.layout.lengths, shown.lengths, strict=True)]
    assert lengths == sorted(lengths)


def test_half_of_the_texts_are_near_misses(source):
    drawn = []
    for seed in range(20):
        drawn += spelt(source.batch(range(12), seeded(seed)))[24:]
    columns, lengths = source.shown.texts.take(np.arange(12, len(source.shown.texts)))
    misses = {tuple(ids.tolist()) for ids in torch.from_numpy(columns["ids"]).split(list(lengths))}
    assert 0.35 < sum(tuple(ids) in misses for ids in drawn) / len(drawn) < 0.65


def test_pools_hold_one_language(source):
    for pool in set(source.pools.tolist()):
        inside = [about.language for about, own in zip(source.captions, source.pools, strict=True) if own == pool]
        assert len(set(inside)) == 1 and len(inside) == 3


def test_crops_are_taken_away_or_exchanged_and_boxes_stay(described):
    scenes, _ = described
    true, blank, shuffled = (texts.seen(scenes, vision, RandomStream(1)) for vision in ("true", "blank", "shuffled"))
    assert not blank.pixels.any() and (blank.boxes == true.boxes).all()
    assert (shuffled.pixels != true.pixels).any()
    assert (np.sort(shuffled.pixels.sum(1)) == np.sort(true.pixels.sum(1))).all()


def test_the_losses_are_those_of_the_papers():
    right, wrong = torch.tensor([0.0, 9.0]), torch.tensor([[0.0, -9.0], [0.0, -9.0]])
    torch.testing.assert_close(margin(right, wrong), torch.tensor([0.2, 0.0]))
    torch.testing.assert_close(choice(right, wrong)[0], torch.tensor(3.0).log())


def test_a_matching_head_serves_where_there_is_no_other():
    recipes = mm_kptm.catalogue()
    assert requested_heads(recipes["uniter-base"], Retrieval.HEADS) == {"retrieval": {}}
    assert requested_heads(find("lxmert"), Retrieval.HEADS) == {"image-text-matching": {}}
    assert requested_heads(recipes["bert-base"], Retrieval.HEADS) == {}
    matching = nn.Linear(1, 2)
    task = Retrieval(System(Oracle(), {"image-text-matching": matching}, recipe="o", sizes={}, head_sizes={}))
    inputs = told([5, 9], [5, 7], [0, 1], [0, 0]).shown.with_images(np.array([0, 1]), np.array([0, 1]))
    scores = matching(torch.tensor([[0.0], [-2.0]]))
    torch.testing.assert_close(task(inputs), scores[:, 1] - scores[:, 0])


def test_one_image_is_not_enough():
    with pytest.raises(UserError, match="retrieval needs two different images at least, but there is 1"):
        told([1, 2], [1], [0, 0], [0, 0])
    with pytest.raises(UserError, match="retrieval among 1 captions was asked for, but a pool holds 2 at least"):
        texts.captions(None, (), ("en",), pool=1)
    with pytest.raises(UserError, match="retrieval ranks all captions of a source, but list holds none"):
        oracle().predictions([])
