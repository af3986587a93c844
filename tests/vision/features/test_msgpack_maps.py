"""MessagePack as UNITER's files hold it: every kind of the specification that they use, and refusals."""

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.msgpack_maps import pack_arrays, unpack


@pytest.mark.parametrize(
    ("data", "value"),
    [  # written by hand after the specification
        (b"\x07", 7),
        (b"\xff", -1),
        (b"\xc0", None),
        (b"\xc3", True),
        (b"\xcd\x01\x00", 256),
        (b"\xd1\xff\x00", -256),
        (b"\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00", 0.5),
        (b"\xa2hi", "hi"),
        (b"\xd9\x02hi", "hi"),
        (b"\xc4\x02\x00\xff", b"\x00\xff"),
        (b"\x92\x01\xa1a", [1, "a"]),
        (b"\xdc\x00\x01\x05", [5]),
        (b"\x81\xa1k\x82\xa1a\x01\xa1b\x02", {"k": {"a": 1, "b": 2}}),
        (b"\xde\x00\x01\x01\x02", {1: 2}),
    ],
)
def test_values_of_the_specification(data, value):
    assert unpack(data, "x") == value


@pytest.mark.parametrize("shape", [(0, 4), (2, 3), (1, 300), (70000, 1)])
def test_arrays_come_back(shape):
    array = (np.arange(np.prod(shape)) % 1000).astype("<f2").reshape(shape)
    back = unpack(pack_arrays({"features": array, "a name of more than thirty-two characters": array}), "x")
    assert list(back) == ["features", "a name of more than thirty-two characters"]
    np.testing.assert_array_equal(back["features"], array)
    assert back["features"].dtype == array.dtype


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa5hi",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 50 + b"\x01",
        b"\xc1",
        b"\xc7\x01\x05\x00",
    ],
)
def test_broken_records_are_named(data):
    with pytest.raises(UserError, match="x is no MessagePack record"):
        unpack(data, "x")


def test_bytes_behind_a_record_are_named():
    with pytest.raises(UserError, match="x holds 1 bytes after its MessagePack record"):
        unpack(b"\x01\x01", "x")


def test_arrays_of_objects_are_refused():
    told = pack_arrays({"a": np.zeros(1, "<f8")}).replace(b"<f8", b"|O8")
    with pytest.raises(UserError, match="is no MessagePack record: an array of object is not of numbers"):
        unpack(told, "x")
