"""Conversion streams, keeps what the target has a place for, and says what it has not."""

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_kptm.errors import UserError
from mm_kptm.vision.features.contract import FeatureContract, contract_path, read_contract, write_contract
from mm_kptm.vision.features.convert import PictureSizes, convert
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.format import format_named, format_of, formats

TARGETS = {"lxmert-hdf5": "x.h5", "uniter-lmdb": "all"}


def image(number, count=4, dim=6):
    rng = np.random.default_rng(number)
    boxes = np.sort(rng.uniform(size=(count, 2, 2)), axis=1).reshape(count, 4) * [60, 40, 60, 40]
    return Detections(
        f"COCO_{number:03d}",
        rng.gamma(1.0, size=(count, dim)).astype(np.float32),
        boxes.astype(np.float32),
        (60, 40),
        class_probs=rng.dirichlet(np.ones(5), count).astype(np.float32),
        object_ids=rng.integers(0, 4, count),
        object_confidences=rng.uniform(size=count).astype(np.float32),
        attribute_probs=rng.dirichlet(np.ones(3), count).astype(np.float32),
        attribute_ids=rng.integers(0, 2, count),
        attribute_confidences=rng.uniform(size=count).astype(np.float32),
        confidences=np.sort(rng.uniform(size=count).astype(np.float32))[::-1],
        object_names=tuple("abcd"[:count]),
    )


def written(format, path, images):
    with format_named(format).write(path) as add:
        for each in images:
            add(each)
    return path


@pytest.mark.parametrize("name", sorted(set(formats()) - {"native"}))
def test_native_and_back(tmp_path, name):
    """Whatever a format keeps survives the way through the native store, within float16."""
    format = format_named(name)
    source = written(name, tmp_path / TARGETS.get(name, "source"), [image(1), image(2)])
    sizes = PictureSizes(_pictures(tmp_path / "pictures", (1, 2)))
    convert(source, format, tmp_path / "store", format_named("native"), sizes=sizes)
    back = tmp_path / "back" / TARGETS.get(name, "target")
    convert(tmp_path / "store", format_named("native"), back, format)
    for one, two in zip(format.read(source), format.read(back), strict=True):
        assert (one.image, one.size, one.object_names) == (two.image, two.size, two.object_names)
        np.testing.assert_allclose(one.features, two.features, rtol=1e-3)
        np.testing.assert_allclose(one.boxes, two.boxes, rtol=2e-3 if format.float16 else 1e-5, atol=1e-3)
        for column in one.columns():
            if column != "object_names":
                np.testing.assert_allclose(getattr(one, column), getattr(two, column), atol=1e-3)


def _pictures(folder, numbers):
    folder.mkdir()
    for number in numbers:
        for name in (f"COCO_{number:03d}.png", f"{number}.png"):
            Image.new("RGB", (60, 40)).save(folder / name)
    return folder


def test_a_picture_goes_by_the_number_at_its_end_where_it_alone_has_it(tmp_path):
    """As the ids of bottom-up's files do."""
    for name in ("COCO_val2014_000000000042.png", "one/7.png", "two/COCO_7.png", "dev-0-img1.png", "dev-1-img1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    sizes = PictureSizes(tmp_path)
    assert sizes.size("42") == (60, 40)
    assert sizes.path("7") == tmp_path / "one" / "7.png"  # its name
    assert sizes.path("1") is None  # of two pictures


def test_what_is_dropped_is_told(tmp_path):
    source = written("native", tmp_path / "s", [image(1)])
    done = convert(source, format_of(source), tmp_path / "t", format_named("bottom-up-tsv"))
    assert done.dropped == set(image(1).columns())
    assert (done.images, done.regions, done.rounded) == (1, 4, False)
    done = convert(tmp_path / "t", format_of(tmp_path / "t"), tmp_path / "u", format_named("native"))
    assert (done.dropped, done.rounded) == (set(), True)


def test_the_contract_goes_along(tmp_path):
    source = written("lxmert-tsv", tmp_path / "s.tsv", [image(1)])
    write_contract(FeatureContract(dim=6, dtype="float32"), contract_path(source))
    convert(source, format_of(source), tmp_path / "t", format_named("native"))
    assert read_contract(tmp_path / "t" / "contract.json") == FeatureContract(dim=6, dtype="float16")


def test_sizes_come_from_pictures(tmp_path):
    unsized = Detections("1", np.ones((1, 2)), np.array([[0, 0, 30, 20.0]]), None)
    source = written("scene-graph-tsv", tmp_path / "s.tsv", [unsized])
    native, found = format_named("native"), format_of(source)
    with pytest.raises(UserError, match=r"boxes of image '1' cannot be turned into fractions: .* with --images"):
        convert(source, found, tmp_path / "t", native)
    assert not (tmp_path / "t").exists()
    convert(source, found, tmp_path / "t", native, sizes=PictureSizes(_pictures(tmp_path / "p", (1,))))
    (read,) = native.read(tmp_path / "t")
    assert read.size == (60, 40)
    assert read.boxes.tolist() == [[0, 0, 0.5, 0.5]]
    other = written("scene-graph-tsv", tmp_path / "o.tsv", [replace(unsized, image="7")])
    with pytest.raises(UserError, match=r"image '7' has no picture in .*, so its size stays unknown"):
        convert(other, found, tmp_path / "u", native, sizes=PictureSizes(tmp_path / "p"))


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(UserError, match="s holds no image"):
        convert(tmp_path / "s", format_named("uniter-npz"), tmp_path / "t", format_named("lxmert-tsv"))


@pytest.mark.parametrize("source", ["bottom-up-tsv", "native", "vilbert-lmdb", "uniter-lmdb"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, source):
    """The most that Python holds at once is that of a few images, whether there are 20 or 200."""
    peaks = []
    for count in (20, 200):
        folder = tmp_path / str(count)
        folder.mkdir()
        path = folder / TARGETS.get(source, "source")
        written(source, path, (image(number, 4, 2000) for number in range(count)))
        tracemalloc.start()
        convert(path, format_named(source), folder / "t", format_named("vlbert-json"), sizes=_Fixed())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # one image is 32 kB; a list of all would add 5.7 MB


class _Fixed:
    def size(self, image):
        return 60, 40


MANY = r"""
import re, sys
import numpy as np
from pathlib import Path
from mm_kptm.vision.features.convert import convert
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.format import format_named
folder = Path(sys.argv[1])
boxes = np.tile(np.array([[0, 0, 30, 20]], np.float32), (10, 1))
features = np.random.default_rng(0).random((10, 512), dtype=np.float32)
with format_named("bottom-up-tsv").write(folder / "all.tsv") as add:
    for number in range(10_000):
        add(Detections(str(number), features, boxes, (60, 40)))
done = convert(folder / "all.tsv", format_named("bottom-up-tsv"), folder / "store", format_named("native"))
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
print(done.images, int(peak[1]) // 1024)
"""


@pytest.mark.slow
def test_ten_thousand_images_convert_within_300_megabytes(tmp_path):
    """204 MB of features, 273 MB as base64; the whole process, with all that it imports, stays below 300 MB."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    images, megabytes = map(int, done.stdout.split())
    assert images == 10_000 and megabytes < 300
