"""The native store keeps all that a detector says, in constant memory, and goes on after a kill."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.format import format_named
from mm_kptm.vision.features.store import INDEX, RegionStore
from mm_kptm.vision.features.store_writer import PROGRESS, StoreWriter, write_store


def image(name, count=3, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(size=(count, 2, 2)), axis=1).reshape(count, 4) * [64, 48, 64, 48]
    return Detections(
        name,
        rng.normal(size=(count, dim)).astype(np.float32),
        boxes.astype(np.float32),
        (64, 48),
        class_probs=rng.dirichlet(np.ones(5), count),
        object_ids=rng.integers(0, 1600, count),
        object_confidences=rng.uniform(size=count),
        attribute_probs=rng.dirichlet(np.ones(3), count),
        attribute_ids=rng.integers(0, 400, count),
        attribute_confidences=rng.uniform(size=count),
        confidences=rng.uniform(size=count),
        object_names=tuple(f"thing {number % 2}" for number in range(count)),
    )


def same(ours, theirs):
    np.testing.assert_array_equal(ours.features, theirs.features.astype(np.float16))
    np.testing.assert_allclose(ours.boxes, theirs.fraction_boxes(), rtol=1e-6)
    assert (ours.size, ours.object_names) == (theirs.size, theirs.object_names)
    assert ours.columns().keys() == theirs.columns().keys()
    for name, value in theirs.columns().items():
        if name != "object_names":
            tolerance = 1e-3 if name.endswith("probs") else 1e-6
            np.testing.assert_allclose(getattr(ours, name), value, atol=tolerance)


IMAGES = [image("a", 3, seed=1), image("b", 0), image("c", 2, seed=2)]


def test_everything_comes_back_from_maps(tmp_path):
    store = write_store(tmp_path / "s", IMAGES)
    for place, theirs in enumerate(IMAGES):
        same(store.image(place), theirs)
    assert all(isinstance(column, np.memmap) for column in (store.features, store.boxes, *store.columns.values()))
    assert not store.columns["class_probs"].flags.writeable


def test_each_column_is_optional(tmp_path):
    bare = Detections("a", np.ones((2, 3)), np.zeros((2, 4)), None, fractions=True)
    store = write_store(tmp_path / "bare", [bare])
    assert (store.columns, store.sizes, store.image(0).size) == ({}, None, None)
    for name in IMAGES[0].columns():
        one = replace(bare, **{name: getattr(image("a", 2), name)})
        assert list(write_store(tmp_path / name, [one]).columns) == [name]


def test_a_plain_store_is_one_too(tmp_path):
    write_store(tmp_path / "s", IMAGES)
    assert RegionStore(tmp_path / "s").lengths.tolist() == [3, 0, 2]


def test_images_without_regions_may_come_first(tmp_path):
    empty = Detections("e", np.zeros((0, 0)), np.zeros((0, 4)), (64, 48))
    store = write_store(tmp_path / "s", [empty, replace(empty, image="f"), *IMAGES])
    assert store.names == ["e", "f", "a", "b", "c"]
    assert store.sizes.tolist() == [[64, 48]] * 5
    same(store.image(2), IMAGES[0])
    with pytest.raises(UserError, match="no image with a region was given"):
        write_store(tmp_path / "t", [empty])


def test_columns_are_those_of_the_first_image(tmp_path):
    with pytest.raises(UserError, match=r"image 'b' comes with features of 4, boxes of 4, .*, but the images before"):
        write_store(tmp_path / "s", [IMAGES[0], replace(image("b"), confidences=None)])
    with pytest.raises(UserError, match=r"image 'b' comes with features of 5"):
        write_store(tmp_path / "t", [IMAGES[0], image("b", dim=5)])
    with pytest.raises(UserError, match="the regions of image 'a' were added twice"):
        write_store(tmp_path / "u", [IMAGES[0], IMAGES[0]])


def test_boxes_outside_are_refused_and_overshoot_is_cut(tmp_path):
    bare = Detections("a", np.ones((1, 3)), np.array([[-0.005, 0, 0.5, 1.005]]), None, fractions=True)
    assert write_store(tmp_path / "s", [bare]).boxes.tolist() == [[0, 0, 0.5, 1]]
    for high in (1.5, 300, np.nan):
        broken = replace(bare, boxes=np.array([[0, 0, 0.5, high]]))
        with pytest.raises(UserError, match="must be fractions of the image, between 0 and 1, but reach from"):
            write_store(tmp_path / f"{high}", [broken])
    with pytest.raises(UserError, match="are not all finite numbers below 65504"):
        write_store(tmp_path / "t", [replace(bare, features=np.full((1, 3), 1e6))])


def test_a_torn_column_is_named(tmp_path):
    write_store(tmp_path / "s", IMAGES)
    np.save(tmp_path / "s" / "confidences.npy", np.zeros(4, np.float32))
    with pytest.raises(
        UserError, match=r"confidences\.npy must hold 5 rows of float32, but it holds .* the store is torn"
    ):
        RegionStore(tmp_path / "s")


@pytest.mark.parametrize("written", [1, 2, 3])
def test_an_interrupted_writer_goes_on(tmp_path, written):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s") as writer:
        for each in IMAGES[:written]:
            writer.add(each)
        raise KeyboardInterrupt
    assert not (tmp_path / "s" / INDEX).exists()
    with StoreWriter(tmp_path / "s", resume=True) as writer:
        assert list(writer.images) == [each.image for each in IMAGES[:written]]
        for each in IMAGES[written:]:
            writer.add(each)
    whole = write_store(tmp_path / "whole", IMAGES)
    for file in whole.folder.iterdir():
        assert (tmp_path / "s" / file.name).read_bytes() == file.read_bytes(), file.name
    assert {file.name for file in (tmp_path / "s").iterdir()} == {file.name for file in whole.folder.iterdir()}


def test_rows_that_no_line_vouches_for_are_cut_off(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s") as writer:
        writer.add(IMAGES[0])
        writer.add(IMAGES[2])
        raise KeyboardInterrupt
    progress = tmp_path / "s" / PROGRESS
    lines = progress.read_text().splitlines(keepends=True)
    progress.write_text("".join(lines[:-1]) + lines[-1][:-5])  # the last line is cut short
    with StoreWriter(tmp_path / "s", resume=True) as writer:
        assert list(writer.images) == ["a"]
        writer.add(IMAGES[2])
    store = RegionStore(tmp_path / "s")
    same(store.image(1), IMAGES[2])


def test_a_killed_process_leaves_what_it_wrote(tmp_path):
    script = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_store_writer import IMAGES, StoreWriter\n"
        "writer = StoreWriter(sys.argv[1]); writer.add(IMAGES[0]); writer.add(IMAGES[2])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = os.path.dirname(__file__)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "s"), here], check=False)
    assert ended.returncode == -signal.SIGKILL
    with StoreWriter(tmp_path / "s", resume=True) as writer:
        assert list(writer.images) == ["a", "c"]
        writer.add(IMAGES[1])
    same(RegionStore(tmp_path / "s").image(1), IMAGES[2])


def test_a_finished_store_is_not_overwritten(tmp_path):
    write_store(tmp_path / "s", IMAGES)
    with pytest.raises(UserError, match="holds a finished store; name another folder, or delete it"):
        StoreWriter(tmp_path / "s", resume=True)


def test_damaged_progress_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / PROGRESS).write_text(json.dumps({"image": "a"}) + "\n")
    with pytest.raises(UserError, match=r"is damaged; delete .* and begin again"):
        StoreWriter(tmp_path / "s", resume=True)
    (tmp_path / "s" / PROGRESS).write_text('{"columns": {"features": [4]}}\n{"image": "a", "regions": 3}\n')
    (tmp_path / "s" / "features.npy").write_bytes(b"")
    with pytest.raises(UserError, match="is shorter than the 3 rows that were written to it; begin again"):
        StoreWriter(tmp_path / "s", resume=True)


def test_the_native_format_reads_without_maps(tmp_path):
    format = format_named("native")
    write_store(tmp_path / "s", IMAGES)
    read = list(format.read(tmp_path / "s"))
    for ours, theirs in zip(read, IMAGES, strict=True):
        same(ours, theirs)
    assert not any(isinstance(each.features, np.memmap) for each in read)
    with format.write(tmp_path / "t") as add:
        for each in read:
            add(each)
    for file in (tmp_path / "s").iterdir():
        assert (tmp_path / "t" / file.name).read_bytes() == file.read_bytes(), file.name
