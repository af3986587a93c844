"""Pickles give arrays, texts and numbers, and never run what they ask for."""

import os
import pickle

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.safe_pickle import load_npy, loads

RECORD = {
    "image_id": "COCO_42",
    "size": (640, 480),
    "features": np.arange(6, dtype=np.float32).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f8"),
    "none": np.zeros((0, 4), np.float16),
    "scalar": np.float32(0.5),
    "raw": b"\x00\xff",
    "flag": True,
    "missing": None,
}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, np.ndarray):
            assert ours[name].dtype == value.dtype
            np.testing.assert_array_equal(ours[name], value)
        else:
            assert ours[name] == value, name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_reads_as_pickle_does(protocol):
    same(loads(pickle.dumps(RECORD, protocol), "x"), RECORD)


def test_records_of_python_2_are_read():
    # protocol 2 of Python 2: numpy.core, and the bytes of an array as a text of one-byte characters
    old = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'i2'\nI0\nI1\ntR"
        b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xff\\xff'\ntb."
    )
    np.testing.assert_array_equal(loads(old, "x"), np.array([1, -1], np.int16))


class Runs:
    def __init__(self, call, *arguments):
        self.what = call, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (Runs(os.system, "touch ran"), r"posix\.system"),
        (Runs(eval, "1"), r"eval"),
        (Runs(np.load, "x.npy"), r"numpy.*load"),
        (np.ma.masked_array([1]), "numpy.ma"),
    ],
)
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, protocol, value, asked):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"it asks to run .*{asked}.*only arrays, texts and numbers are read"):
        loads(pickle.dumps({"features": value}, protocol), "x")
    assert not list(tmp_path.iterdir())


def test_other_kinds_of_arrays_are_refused():
    with pytest.raises(UserError, match=r"x is refused: it holds values of kind 'U3'; only numbers"):
        loads(pickle.dumps(np.array(["abc"])), "x")


def test_an_array_that_lies_about_its_size_is_no_crash():
    broken = pickle.dumps(np.zeros(4, np.float32), 2).replace(b"K\x04", b"K\x7f")
    with pytest.raises(UserError, match="x is no pickle that can be read"):
        loads(broken, "x")


def test_an_array_class_of_its_own_cannot_be_called():
    # numpy.ndarray((10**12,)) would take all memory there is
    with pytest.raises(UserError, match="x is no pickle that can be read"):
        loads(b"cnumpy\nndarray\n((I1000000000000\nttR.", "x")


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello", pickle.dumps(RECORD)[:-20]])
def test_broken_pickles_are_named(data):
    with pytest.raises(UserError, match="x is no pickle that can be read"):
        loads(data, "x")


def test_a_record_in_npy(tmp_path):
    np.save(tmp_path / "a.npy", np.array(RECORD, dtype=object), allow_pickle=True)
    same(load_npy(tmp_path / "a.npy"), RECORD)
    np.save(tmp_path / "b.npy", np.arange(3))
    np.testing.assert_array_equal(load_npy(tmp_path / "b.npy"), np.arange(3))


def test_an_npy_that_runs_code_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array({"x": Runs(os.system, "touch ran")}, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy is refused: it asks to run"):
        load_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00", b"garbage"])
def test_a_broken_npy_is_named(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.npy cannot be read as an array"):
        load_npy(tmp_path / "a.npy")
