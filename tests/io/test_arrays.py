"""Mapped arrays: pages that were read are given back."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.data.packing import Packed
from mm_kptm.io import arrays
from mm_kptm.io.arrays import read_array, release_pages


class Recorded:
    """The map of a file that counts how often its pages are given back."""

    def __init__(self, size: int) -> None:
        self.size, self.released = size, 0

    def __len__(self) -> int:
        return self.size

    def madvise(self, option: int) -> None:
        assert option == mmap.MADV_DONTNEED
        self.released += 1


def packed(tmp_path: Path) -> Packed:
    columns = {"ids": np.arange(40, dtype=np.uint16), "marks": np.arange(40, dtype=np.uint8)}
    for name, column in columns.items():
        np.save(tmp_path / f"{name}.npy", column)
    mapped = {name: read_array(tmp_path / f"{name}.npy", mmap=True) for name in columns}
    return Packed(np.arange(0, 41, 4), mapped)


def test_views_of_a_map_are_found_once_and_other_arrays_not(tmp_path):
    ids = packed(tmp_path).columns["ids"]
    assert len(arrays._maps([ids, ids[3:], np.asarray(ids)[::2], np.arange(3)])) == 1
    release_pages([ids[3:]])
    assert ids.tolist() == list(range(40)), "released pages are read again"


@pytest.mark.parametrize(("size", "released"), [(1000, 2), (10, 0)])
def test_pages_of_large_maps_are_released_after_some_places(size, released, tmp_path, monkeypatch):
    found = Recorded(size)
    monkeypatch.setattr(arrays, "_maps", lambda asked: [found])
    monkeypatch.setattr(arrays, "_PLACES", 3 * 8)
    monkeypatch.setattr(arrays, "_KEPT_BYTES", 100)
    rows = packed(tmp_path)
    for _ in range(4):  # four sequences in offsets and two columns: 12 places
        assert rows.take([9, 0, 4, 1])[0]["ids"].tolist() == [36, 37, 38, 39, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7]
    assert found.released == released
