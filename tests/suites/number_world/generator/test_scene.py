"""Digits, draws and scenes."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.digits import BLOCKS, scans
from mm_kptm.suites.number_world.generator.scene import (
    COLOURS,
    DIGIT,
    FEATURES,
    HEIGHT,
    NOISE,
    SLOT_HEIGHT,
    WIDTH,
    compose,
)


def test_blocks_share_no_scan():
    places = [place for first, stop in BLOCKS.values() for place in range(first, stop)]
    assert len(places) == len(set(places))
    assert [len(scans(block).labels) for block in BLOCKS] == [1200, 200, 317]
    for block in BLOCKS:
        for digit in range(10):
            assert set(scans(block).labels[scans(block).table[digit]]) == {digit}


def test_an_unknown_block_is_refused():
    with pytest.raises(UserError, match=r"no block of scans called 'all'; the blocks are train, dev, test"):
        scans("all")


def test_draws_are_those_of_pcg64():
    """Raw words of numpy, and integer arithmetic: nothing that a new version may change."""
    raw = np.random.PCG64(np.random.SeedSequence([7])).random_raw(4)
    assert RandomStream(7).below(10, 4).tolist() == [int(word >> np.uint64(32)) * 10 >> 32 for word in raw]


def test_a_child_does_not_depend_on_what_was_drawn():
    draw = RandomStream(3)
    first = draw.child("a").words(5)
    draw.words(100)
    np.testing.assert_array_equal(draw.child("a").words(5), first)
    assert (draw.child("b").words(5) != first).any()


def test_draws_are_even():
    counts = np.bincount(RandomStream(0).below(6, 60000), minlength=6)
    assert abs(counts - 10000).max() < 400


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="a seed of -1 was asked for"):
        RandomStream(-1)


@pytest.fixture(scope="module")
def scenes():
    return compose("test", 500, RandomStream(0, "scenes"))


def test_boxes_do_not_overlap(scenes):
    for scene in range(len(scenes)):
        boxes = [thing.box for thing in scenes.things(scene)]
        assert 2 <= len(boxes) <= 5
        for k, (x1, y1, x2, y2) in enumerate(boxes):
            assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT
            assert y1 // SLOT_HEIGHT == (y2 - 1) // SLOT_HEIGHT
            assert all(x2 <= other[0] or other[2] <= x1 for other in boxes[:k])


def test_crops_are_what_the_boxes_show(scenes):
    for scene in range(50):
        image = scenes.image(scene)
        assert image.shape == (HEIGHT, WIDTH, 3)
        for thing, crop in zip(scenes.things(scene), scenes.crops[scenes.rows(scene)], strict=True):
            x1, y1, x2, y2 = thing.box
            blank = 2 * DIGIT - (x2 - x1)
            np.testing.assert_array_equal(crop[..., blank:], image[y1:y2, x1:x2].transpose(2, 0, 1))
            assert not crop[..., :blank].any()
            assert x2 - x1 == (DIGIT if thing.value < 10 else 2 * DIGIT)


def test_a_scene_is_written_with_scans_of_its_digits(scenes):
    labels = scans("test").labels
    for value, (tens, units) in zip(scenes.values, scenes.written, strict=True):
        assert labels[units] == value % 10
        assert tens == -1 if value < 10 else labels[tens] == value // 10


def test_numbers_differ_and_the_focus_has_a_colour_of_its_own(scenes):
    for scene in range(len(scenes)):
        things, focus = scenes.things(scene), int(scenes.focus[scene])
        values, colours = [thing.value for thing in things], [thing.colour for thing in things]
        assert len(set(values)) == len(values)
        assert colours.count(colours[focus]) == 1
        assert values[focus] not in (0, 99)


def test_the_order_of_regions_does_not_give_the_focus_away(scenes):
    pairs = [scene for scene in range(len(scenes)) if len(scenes.things(scene)) == 2]
    assert 0.3 < np.mean(scenes.focus[pairs]) < 0.7


def test_every_colour_and_number_occurs(scenes):
    assert len(set(scenes.colours)) == len(COLOURS)
    assert len(set(scenes.values)) == 100


def test_features_and_boxes_are_fractions(scenes):
    features, boxes = scenes.features([4, 2]), scenes.fractions([4, 2])
    rows = len(scenes.things(4)) + len(scenes.things(2))
    assert features.shape == (rows, FEATURES) and boxes.shape == (rows, 4)
    assert features.dtype == boxes.dtype == np.float32
    assert features.min() >= 0 and NOISE / 255 < features.max() <= 1
    assert (boxes[:, :2] < boxes[:, 2:]).all() and boxes.max() <= 1
    np.testing.assert_array_equal(features[: len(scenes.things(4))], scenes.features([4]))


def test_forbidden_cells_do_not_occur():
    allowed = np.arange(30)[:, None] % 2 == np.arange(8) % 2
    scenes = compose("train", 300, RandomStream(1), numbers=30, sizes=(4,), allowed=allowed)
    assert allowed[scenes.values, scenes.colours].all()
    assert set(np.diff(scenes.offsets)) == {4}


def test_a_linear_reading_of_crops_beats_chance_by_far():
    """What a small projection is to learn from can be learned from: the units digit of unseen scans."""
    train, test = compose("train", 1500, RandomStream(0, "fit")), compose("test", 300, RandomStream(0, "score"))
    model = RidgeClassifier(alpha=10.0).fit(_grey(train), train.values % 10)
    assert model.score(_grey(test), test.values % 10) > 0.75


def _grey(scenes):
    return scenes.crops.max(axis=1).reshape(len(scenes.values), -1) / 255


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": 5}, "a world of 5 numbers was asked for"),
        ({"sizes": (1, 2)}, r"scenes of \[1, 2\] numbers were asked for, but a scene holds 2, 3, 4 or 5"),
        ({"sizes": ()}, r"scenes of \[\] numbers were asked for"),
    ],
)
def test_impossible_scenes_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        compose("train", 3, RandomStream(0), **changes)
