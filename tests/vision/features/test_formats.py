"""Every format gives back what was written, streams, and says in a sentence what is wrong with a file."""

import base64
import json
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats import files, lmdb_files, vlbert_json
from mm_kptm.vision.features.formats.format import format_named, format_of, formats

#: How a target is named so that its format is recognised, where the name matters.
NAMES = {
    "lxmert-hdf5": "x.h5",
    "uniter-lmdb": "all",
    "vlbert-json": "frcnn",
}
OTHERS = sorted(set(formats()) - {"native"})


def detections(number=42, count=5, dim=8, seed=0, classes=6):
    rng = np.random.default_rng([seed, number])
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * [640, 480]
    confidences = np.sort(rng.uniform(size=count))[::-1]
    return Detections(
        f"COCO_val2014_{number:012d}",
        rng.gamma(1.0, size=(count, dim)).astype(np.float32),
        corners.reshape(count, 4).astype(np.float32),
        (640, 480),
        class_probs=rng.dirichlet(np.ones(classes), count).astype(np.float32),
        object_ids=rng.integers(0, 1600, count),
        object_confidences=rng.uniform(size=count).astype(np.float32),
        attribute_probs=rng.dirichlet(np.ones(4), count).astype(np.float32),
        attribute_ids=rng.integers(0, 400, count),
        attribute_confidences=rng.uniform(size=count).astype(np.float32),
        confidences=confidences.astype(np.float32),
        object_names=tuple(f"thing {number}" for number in range(count)),
    )


def written(format, images, folder):
    path = folder / NAMES.get(format.name, "target")
    with format.write(path) as add:
        for image in images:
            add(image)
    return path


def stripped(image, format):
    """The image with what a format keeps."""
    dropped = {name: None for name in [*image.columns(), "size"] if name not in format.keeps}
    return replace(image, **dropped)


def same(ours, theirs, format):
    tolerance = {"rtol": 2e-3, "atol": 2e-3} if format.float16 else {"rtol": 1e-6, "atol": 1e-6}
    assert ours.image.lstrip("0") in (theirs.image, theirs.image[-2:])  # some ids are numbers
    assert ours.size == (theirs.size if "size" in format.keeps else None)
    scale = np.array([1, 1, 1, 1] if ours.fractions == theirs.fractions else [*theirs.size, *theirs.size])
    np.testing.assert_allclose(ours.boxes, theirs.boxes / scale, **tolerance)
    np.testing.assert_allclose(ours.features, theirs.features, **tolerance)
    expected = stripped(theirs, format).columns()
    assert ours.columns().keys() == expected.keys()
    for name, value in ours.columns().items():
        if name == "object_names":
            assert value == expected[name]
        else:
            np.testing.assert_allclose(value, expected[name], **tolerance)


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_gives_back_what_was_written(tmp_path, name):
    format = format_named(name)
    images = [detections(11), detections(12, count=1), detections(13, count=7)]
    path = written(format, images, tmp_path)
    assert format_of(path) == format
    read = list(format.read(path))
    assert len(read) == 3
    for ours, theirs in zip(sorted(read, key=lambda image: image.image), images, strict=True):
        same(ours, theirs, format)


@pytest.mark.parametrize("name", OTHERS)
def test_writing_what_was_read_gives_the_same_again(tmp_path, name):
    """No rounding piles up: the second copy equals the first bit for bit."""
    format = format_named(name)
    first = written(format, [detections(11), detections(12)], tmp_path / "a")
    second = written(format, format.read(first), tmp_path / "b")
    for one, two in zip(format.read(first), format.read(second), strict=True):
        assert (one.image, one.size, one.object_names) == (two.image, two.size, two.object_names)
        np.testing.assert_array_equal(one.features, two.features)
        np.testing.assert_array_equal(one.boxes, two.boxes)
        for column in one.columns():
            np.testing.assert_array_equal(getattr(one, column), getattr(two, column))


@pytest.mark.parametrize("name", OTHERS)
def test_a_writer_that_stops_leaves_nothing(tmp_path, name):
    format = format_named(name)
    with pytest.raises(KeyboardInterrupt), format.write(tmp_path / NAMES.get(name, "target")) as add:
        add(detections())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_overwritten(tmp_path, name):
    format = format_named(name)
    path = written(format, [detections()], tmp_path)
    with pytest.raises(UserError, match="exists already; name a place that does not"), format.write(path):
        pass


@pytest.mark.parametrize("name", ["uniter-lmdb", "vilbert-lmdb", "volta-lmdb"])
def test_lmdb_is_read_and_written_in_pieces(tmp_path, monkeypatch, name):
    """Nothing is lost or doubled where an environment is opened anew."""
    monkeypatch.setattr(lmdb_files, "CHUNK", 1)
    format = format_named(name)
    images = [detections(number, count=2) for number in range(11, 20)]
    path = written(format, images, tmp_path)
    assert len([image.image for image in format.read(path)]) == 9


def test_the_golden_tsv_is_written_byte_for_byte(tmp_path):
    data = Path(__file__).parents[2] / "golden" / "data" / "region_formats"
    for name in ("lxmert_tsv/val2014_obj.tsv", "bottomup_tsv/trainval.tsv", "oscar_tsv/sgb_predictions.tsv"):
        source = data / name
        format = format_of(source)
        path = tmp_path / source.name
        with format.write(path) as add:
            for image in format.read(source):
                add(image)
        assert path.read_bytes() == source.read_bytes(), name
    assert (tmp_path / "sgb_predictions.lineidx").read_bytes() == (
        data / "oscar_tsv/sgb_predictions.lineidx"
    ).read_bytes()


def test_the_line_index_says_where_rows_start(tmp_path):
    path = written(format_named("oscar-tsv"), [detections(11), detections(12)], tmp_path)
    for name in ("features", "predictions"):
        offsets = [int(line) for line in (path / f"{name}.lineidx").read_text().splitlines()]
        rows = (path / f"{name}.tsv").read_bytes()
        assert [rows[offset : offset + 25] for offset in offsets] == [
            b"COCO_val2014_000000000011",
            b"COCO_val2014_000000000012",
        ]
    assert json.loads((path / "imageid2idx.json").read_text()) == {detections(n).image: n - 11 for n in (11, 12)}


def test_uniter_keeps_boxes_as_its_folder_says(tmp_path):
    format = format_named("uniter-lmdb")
    image = replace(detections(count=6), confidences=np.array([0.9, 0.8, 0.5, 0.3, 0.1, 0.1], np.float32))
    expected = {"feat_th0.4_max100_min1": 3, "feat_th0.4_max2_min1": 2, "feat_th0.4_max100_min5": 5, "feat_numbb4": 4}
    for name, count in (expected | {"all": 6}).items():
        for suffix in ("", "_compressed"):
            with format.write(tmp_path / f"{name}{suffix}") as add:
                add(image)
            assert [len(image) for image in format.read(tmp_path / f"{name}{suffix}")] == [count]
    assert json.loads((tmp_path / "nbb_th0.4_max100_min5.json").read_text()) == {f"{image.image}.npz": 5}


def test_a_folder_that_uniter_cannot_read_is_refused(tmp_path):
    with (
        pytest.raises(UserError, match="reads the number of boxes from the folder's name, and 'features' says none"),
        format_named("uniter-lmdb").write(tmp_path / "features"),
    ):
        pass


def test_the_stray_member_of_old_npz_files_is_skipped(tmp_path):
    (tmp_path / "d").mkdir()
    arrays = {"norm_bb": np.zeros((2, 6), "f2"), "features": np.ones((2, 3), "f2"), "allow_pickle": np.array(False)}
    np.savez(tmp_path / "d" / "coco_1.npz", **arrays)
    (image,) = format_named("uniter-npz").read(tmp_path / "d")
    assert (image.image, len(image)) == ("coco_1", 2)


def test_an_index_reads_each_image_once(tmp_path):
    format = format_named("vlbert-json")
    with format.write(tmp_path / "frcnn.zip") as add:
        add(detections(11))
        add(detections(12))
    name = f"{detections(12).image}.json"
    line = json.dumps({"image": "a.zip@/x.jpg", "frcnn": f"frcnn.zip@/{name}", "caption": []})
    (tmp_path / "val_frcnn.json").write_text(f"{line}\n{line}\n")
    assert [image.image for image in format.read(tmp_path / "val_frcnn.json")] == [detections(12).image]


def b64(array):
    return base64.b64encode(array.tobytes()).decode()


BOXES, FEATURES = b64(np.zeros((2, 4), "f4")), b64(np.ones((2, 3), "f4"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"1\t10\t10\t2\t{BOXES}", r"line 1 has 5 fields; 6 were expected: image_id, image_w"),
        (f"1\t10\t10\ttwo\t{BOXES}\t{FEATURES}", r"line 1: num_boxes is 'two', which is no whole number"),
        (f"1\t10\t10\t-2\t{BOXES}\t{FEATURES}", r"line 1: num_boxes is -2, which is no count or size"),
        (
            f"1\t10\t10\t3\t{BOXES}\t{b64(np.ones((3, 3), 'f4'))}",
            r"line 1: boxes holds 8 numbers, which do not make 3 rows",
        ),
        (
            f"1\t10\t10\t2\t{BOXES}\t{b64(np.ones(7, 'f4'))}",
            r"line 1: features holds 7 numbers, which do not make 2 rows",
        ),
        (f"1\t10\t10\t2\t{BOXES}\t%%%", r"line 1: features is no base64 text"),
        (f"1\t10\t10\t2\t{BOXES}\tAAA=", r"line 1: features is 2 bytes long, which does not make whole f4 numbers"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    (tmp_path / "x.tsv").write_text(row + "\n")
    with pytest.raises(UserError, match=message):
        list(format_named("bottom-up-tsv").read(tmp_path / "x.tsv"))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return sys.exit, (3,)

    with lmdb.open(str(tmp_path / "x"), map_size=2**20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"1", pickle.dumps(Runs()))
    path = tmp_path / "x"
    with pytest.raises(UserError, match=r"key '1' is refused: it asks to run sys\.exit"):
        list(format_of(path).read(path))


def test_a_path_that_leaves_its_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "x.json").write_text("{}")
    index = tmp_path / "in" / "index.json"
    index.write_text(json.dumps({"frcnn": "../x.json"}) + "\n")
    with pytest.raises(UserError, match=r"line 1 leads out of its folder: '\.\./x\.json'"):
        list(format_named("vlbert-json").read(index))
    for name in ("uniter-npz", "vilbert-npy", "vlbert-json"):
        with (
            pytest.raises(UserError, match=r"leads into another folder"),
            format_named(name).write(tmp_path / name) as add,
        ):
            add(replace(detections(), image="../x"))


def test_archives_that_unfold_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    monkeypatch.setattr(vlbert_json, "MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", " " * 2000)
    with pytest.raises(UserError, match="unfolds to more than an image's features can be"):
        list(format_named("vlbert-json").read(tmp_path / "x.zip"))
    (tmp_path / "d").mkdir()
    np.savez_compressed(tmp_path / "d" / "1.npz", features=np.zeros((100, 100)))
    with pytest.raises(UserError, match="unfolds to 80128 bytes, more than an image's features can be"):
        list(format_named("uniter-npz").read(tmp_path / "d"))


def test_what_a_format_needs_is_asked_for(tmp_path):
    with (
        pytest.raises(UserError, match="LXMERT's TSV needs object_ids of every image, but image 'a' comes without"),
        format_named("lxmert-tsv").write(tmp_path / "x") as add,
    ):
        add(Detections("a", np.ones((1, 2)), np.zeros((1, 4)), (5, 5)))
    with (
        pytest.raises(UserError, match="'cat' does not end in a number"),
        format_named("bottom-up-tsv").write(tmp_path / "y") as add,
    ):
        add(replace(detections(), image="cat"))


def test_boxes_of_unknown_size_stay_what_they_are():
    image = Detections("a", np.ones((1, 2)), np.full((1, 4), 0.5), None, fractions=True)
    with pytest.raises(UserError, match="boxes of image 'a' cannot be turned into pixels: its file does not say"):
        image.pixel_boxes()


def test_mismatched_rows_are_refused():
    with pytest.raises(UserError, match=r"features of shape \[2, 3\] and boxes of shape \[1, 4\]"):
        Detections("a", np.ones((2, 3)), np.zeros((1, 4)), (5, 5))
    with pytest.raises(UserError, match="image 'a' has 1 boxes but 2 rows of object_ids"):
        Detections("a", np.ones((1, 3)), np.zeros((1, 4)), (5, 5), object_ids=np.zeros(2))


def test_a_file_of_no_format_is_named(tmp_path):
    (tmp_path / "x").write_text("hello")
    with pytest.raises(UserError, match=r"x is of no known format; say which with --from, one of bottom-up-tsv, "):
        format_of(tmp_path / "x")
    with pytest.raises(UserError, match="is not there"):
        format_of(tmp_path / "y")
    with pytest.raises(UserError, match=r"'lxmert' is no format of region features; did you mean lxmert-tsv\?"):
        format_named("lxmert")
