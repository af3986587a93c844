"""Processes that read one store share its pages: nothing is copied for any of them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.datasets.stored_regions import StoredRegions
from mm_kptm.vision.features.store import RegionStore
from tests.stores import write_regions

MIB = 1 << 20


def written(folder: Path, images: int, dim: int) -> Path:
    rng = np.random.default_rng(0)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (8, 1))
    write_regions(folder, ((str(image), rng.random((8, dim)), boxes) for image in range(images)))
    return folder


def test_a_store_goes_to_another_process_as_its_folder(tmp_path: Path) -> None:
    store = RegionStore(written(tmp_path / "store", 40, 512))
    sent = pickle.dumps(StoredRegions(store))
    assert len(sent) < 4096 < store.features.nbytes
    received = pickle.loads(sent).store
    assert type(received) is RegionStore and received.places == store.places
    for array in (received.features, received.boxes):
        assert isinstance(array, np.memmap) and Path(array.filename).parent == store.folder
    np.testing.assert_array_equal(received.features, store.features)


def memory_of(folder: Path) -> dict[str, int]:
    """Bytes of this process that are mapped from the features of a store, by the kinds of Linux."""
    sizes = dict.fromkeys(("Rss", "Pss", "Private_Dirty", "Anonymous"), 0)
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(folder / "features.npy"))
        elif inside and (name := line.split(":")[0]) in sizes:
            sizes[name] += 1024 * int(line.split()[1])
    return sizes


def read_all(sent: bytes, end: Connection) -> None:
    """Read every region of a store, then tell what memory that takes while the other processes do."""
    regions = pickle.loads(sent)
    for image in range(len(regions.lengths)):
        regions.regions(np.array([image]))
    end.send("read")
    end.recv()
    end.send(memory_of(regions.store.folder))
    end.recv()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="only Linux tells what processes share")
def test_four_workers_hold_one_copy(tmp_path: Path) -> None:
    store = RegionStore(written(tmp_path / "store", 2000, 1024))
    size = store.features.nbytes
    assert size > 30 * MIB
    sent, context = pickle.dumps(StoredRegions(store)), multiprocessing.get_context("spawn")
    ends = []
    workers = []
    for _ in range(4):
        ours, theirs = context.Pipe()
        worker = context.Process(target=read_all, args=(sent, theirs), daemon=True)
        worker.start()
        ends.append(ours)
        workers.append(worker)
    for phase in ("read", "measured"):
        found = [end.recv() for end in ends]
        for end in ends:
            end.send(phase)
    for worker in workers:
        worker.join()
    assert all(one["Rss"] > 0.9 * size for one in found)  # each has all of it in its address space
    assert sum(one["Pss"] for one in found) < 1.1 * size  # and all of them together have it once
    assert all(one["Private_Dirty"] + one["Anonymous"] == 0 for one in found)
