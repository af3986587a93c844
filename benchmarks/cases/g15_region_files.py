"""G15: random batches of 64 images, 36 regions of 2048 features each, as float32 tensors; files in the page cache.

One peer is the TSV of bottom-up features, whose lines are found by their offsets and whose arrays are base64 of
float32, as released; the other an LMDB of float16 arrays, each widened into its place of the batch. Ours is the native
store, memory-mapped. All hold the same numbers.
"""

from __future__ import annotations

import atexit
import base64
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import lmdb
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import OURS, PEER, Case, within
from mm_kptm.datasets.stored_regions import StoredRegions
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.store import RegionStore
from mm_kptm.vision.features.store_writer import StoreWriter

IMAGES, REGIONS, FEATURES, BATCH, BATCHES = 600, 36, 2048, 64, 4
VERSIONS = {"lmdb": version("lmdb"), "numpy": np.__version__}

Read = Callable[[NDArray[np.int64]], Tensor]


def _written(folder: Path, seed: int) -> tuple[Read, Read, Read]:
    """Readers of the three files, which are written image by image."""
    rng = np.random.default_rng(seed)
    offsets = [0]
    environment = lmdb.open(str(folder / "lmdb"), map_size=2**31)
    with (
        StoreWriter(folder / "native") as native,
        (folder / "features.tsv").open("wb") as lines,
        environment.begin(write=True) as table,
    ):
        for number in range(IMAGES):
            features = rng.random((REGIONS, FEATURES), dtype=np.float32).astype(np.float16)
            native.add(Detections(str(number), features, np.full((REGIONS, 4), 0.5), fractions=True))
            offsets.append(offsets[-1] + lines.write(b"%d\t%s\n" % (number, base64.b64encode(features.astype("<f4")))))
            table.put(str(number).encode(), features.tobytes())
    reading = environment.begin(buffers=True)
    tsv = (folder / "features.tsv").open("rb")
    store = StoredRegions(RegionStore(folder / "native"))

    def of_tsv(images: NDArray[np.int64]) -> Tensor:
        parts = []
        for number in images.tolist():
            tsv.seek(offsets[number])
            _, text = tsv.read(offsets[number + 1] - offsets[number]).split(b"\t")
            parts.append(np.frombuffer(base64.b64decode(text), np.float32))
        return torch.from_numpy(np.concatenate(parts).reshape(-1, FEATURES))

    def of_lmdb(images: NDArray[np.int64]) -> Tensor:
        held = np.empty((len(images), REGIONS * FEATURES), np.float32)
        for place, number in enumerate(images.tolist()):
            held[place] = np.frombuffer(reading.get(str(number).encode()), np.float16)
        return torch.from_numpy(held.reshape(-1, FEATURES))

    def of_store(images: NDArray[np.int64]) -> Tensor:
        return store.regions(images).features

    return of_tsv, of_lmdb, of_store


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    folder = Path(tempfile.mkdtemp(prefix="g15-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    of_tsv, of_lmdb, of_store = _written(folder, seed)
    rng = np.random.default_rng(seed + 1)
    batches = [rng.permutation(IMAGES)[:BATCH] for _ in range(BATCHES)]

    def work(read: Read) -> Callable[[], float]:
        return lambda: float(sum(len(read(batch)) for batch in batches) // REGIONS)

    def check(read: Read) -> Callable[[], dict[str, float]]:
        def differences() -> dict[str, float]:
            most = max(float((read(batch) - of_store(batch)).abs().max()) for batch in batches)
            return within({"features": most}, {"features": 0.0}, "g15")

        return differences

    sizes = {"images": IMAGES, "regions": REGIONS, "features": FEATURES, "batch": BATCH}
    return tuple(
        Case(
            name=name,
            title=f"random batches of region features, native store and {what}",
            unit="images",
            work=float(BATCH * BATCHES),
            variants={PEER: work(read), OURS: work(of_store)},
            check=check(read),
            sizes=sizes,
        )
        for name, what, read in (("g15", "base64 TSV", of_tsv), ("g15-lmdb", "LMDB", of_lmdb))
    )
