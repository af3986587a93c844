"""A region store gives back what was written, and a torn one is refused."""

import json

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.store import BOXES, FEATURES, INDEX, RegionStore
from mm_kptm.vision.features.store_writer import StoreWriter
from tests.stores import write_regions


def images(*counts, dim=5):
    rng = np.random.default_rng(0)
    return [(f"{place}.jpg", rng.normal(size=(n, dim)), rng.uniform(size=(n, 4))) for place, n in enumerate(counts)]


def region(name, features, boxes):
    return Detections(name, features, boxes, fractions=True)


def test_every_image_comes_back(tmp_path):
    given = images(3, 0, 2)
    store = write_regions(tmp_path, given)
    assert (len(store), store.dim, store.lengths.tolist()) == (3, 5, [3, 0, 2])
    for name, features, boxes in given:
        (place,) = store.places_of([name])
        rows = slice(store.offsets[place], store.offsets[place + 1])
        np.testing.assert_array_equal(store.features[rows], features.astype(np.float16))
        np.testing.assert_allclose(store.boxes[rows], boxes, rtol=1e-6)


def test_nothing_is_loaded_until_it_is_taken(tmp_path):
    store = write_regions(tmp_path, images(2))
    assert isinstance(store.features, np.memmap)
    assert not store.features.flags.writeable


def test_an_interrupted_writer_leaves_no_store(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path) as writer:
        writer.add(region(*images(1)[0]))
        raise KeyboardInterrupt
    with pytest.raises(UserError, match=rf"region features were looked for in .*, but .*{INDEX} is not there"):
        RegionStore(tmp_path)


def test_a_store_that_lacks_regions_is_torn(tmp_path):
    write_regions(tmp_path, images(2, 3))
    (tmp_path / INDEX).write_text(json.dumps({"images": [["0.jpg", 2]]}))
    with pytest.raises(UserError, match=rf"{FEATURES} holds 5 regions, but .*{INDEX} lists 2; the store is torn"):
        RegionStore(tmp_path)


def test_truncated_features_are_refused(tmp_path):
    write_regions(tmp_path, images(2, 3))
    whole = (tmp_path / FEATURES).read_bytes()
    (tmp_path / FEATURES).write_bytes(whole[:-4])
    with pytest.raises(UserError, match=rf"{FEATURES} is no whole array of numbers"):
        RegionStore(tmp_path)


@pytest.mark.parametrize("array", [np.zeros((2, 5), np.float32), np.zeros(2, np.float16)])
def test_features_of_another_kind_are_refused(tmp_path, array):
    write_regions(tmp_path, images(2))
    np.save(tmp_path / FEATURES, array)
    with pytest.raises(UserError, match=rf"{FEATURES} must hold float16 rows of features, but it holds {array.dtype}"):
        RegionStore(tmp_path)


def test_pickled_arrays_are_not_opened(tmp_path):
    write_regions(tmp_path, images(2))
    np.save(tmp_path / BOXES, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=rf"{BOXES} is no whole array of numbers"):
        RegionStore(tmp_path)


@pytest.mark.parametrize("index", ["", "[]", '{"images": [5]}', '{"images": [["a", "b"]]}'])
def test_a_malformed_index_is_named(tmp_path, index):
    write_regions(tmp_path, images(2))
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(UserError, match=rf"{INDEX}( must hold |, images.0.: | must be an object| is empty)"):
        RegionStore(tmp_path)


def test_an_image_listed_twice_is_named(tmp_path):
    write_regions(tmp_path, images(2))
    (tmp_path / INDEX).write_text('{"images": [["a", 1], ["a", 1]]}')
    with pytest.raises(UserError, match=rf"{INDEX} lists image 'a' twice"):
        RegionStore(tmp_path)


def test_a_strange_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no regions of image 'x.jpg'; it holds 1 images"):
        write_regions(tmp_path, images(2)).places_of(["x.jpg"])


@pytest.mark.parametrize(
    ("features", "boxes", "message"),
    [
        (
            np.ones((2, 4)),
            np.ones((2, 4)),
            "image 'new' comes with features of 4, boxes of 4, but the images before it with features of 5",
        ),
        (np.ones((2, 5)), np.ones((3, 4)), r"boxes of shape \[3, 4\]"),
        (np.full((1, 5), np.nan), np.ones((1, 4)), "the features of image 'new' are not all finite numbers"),
        (np.full((1, 5), 1e6), np.ones((1, 4)), "the features of image 'new' are not all finite numbers below 65504"),
        (np.ones((1, 5)), np.full((1, 4), 20.0), "the boxes of image 'new' must be fractions of the image"),
        (np.ones((1, 5)), np.full((1, 4), np.nan), "the boxes of image 'new' must be fractions of the image"),
    ],
)
def test_what_is_no_region_is_refused(tmp_path, features, boxes, message):
    with StoreWriter(tmp_path) as writer:
        writer.add(region(*images(1)[0]))
        with pytest.raises(UserError, match=message):
            writer.add(region("new", features, boxes))


def test_an_image_is_added_once(tmp_path):
    with StoreWriter(tmp_path) as writer:
        writer.add(region(*images(1)[0]))
        with pytest.raises(UserError, match=r"the regions of image '0.jpg' were added twice"):
            writer.add(region(*images(1)[0]))


def test_a_store_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="no image with a region was given to write into"):
        write_regions(tmp_path, [])
