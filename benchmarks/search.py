"""Search in 1,000,000 vectors of 512 dims: ``python -m benchmarks.search [FOLDER] [--count N] [--approximate ivf]``.

The vectors lie around 10,000 centres, as pictures of alike things do (cosine to the nearest ones about 0.7). Prints the
seconds of an exact query, cold pages aside, and its processor time, which other work on the machine changes less, with
the memory of a process that has loaded nothing but the scan; and the seconds and the recall of FAISS against the exact
result.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import load, machine

DIM, CENTRES, QUERIES, AT = 512, 10_000, 20, 10

EXACT = """
import statistics, sys, time
import numpy as np
from mm_kptm.suites.search.nearest import top_k
count, dim = int(sys.argv[2]), int(sys.argv[3])
vectors = np.memmap(sys.argv[1], np.float32, "r", shape=(count, dim))
seconds, spent = [], []
for row in range(22):
    query = np.array(vectors[row * (count // 22)])
    start, work = time.perf_counter(), time.process_time()
    top_k(vectors, query, 10)
    seconds.append(time.perf_counter() - start)
    spent.append(time.process_time() - work)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"exact top-10 of {count:,} x {dim}: median {statistics.median(seconds[2:]) * 1e3:.0f} ms, "
      f"best {min(seconds[2:]) * 1e3:.0f} ms; processor time {statistics.median(spent[2:]) * 1e3:.0f} ms over all "
      f"threads; peak resident memory {int(peak) / 1024:.0f} MB")
"""


def make(folder: Path, count: int) -> None:
    """A generation of vectors without pictures."""
    from mm_kptm.suites.search.generation import GenerationWriter

    draws = np.random.default_rng(0)
    centres = draws.standard_normal((CENTRES, DIM), dtype=np.float32)
    with GenerationWriter(folder, DIM) as writer:
        for first in range(0, count, 10_000):
            chosen = draws.integers(CENTRES, size=min(10_000, count - first))
            vectors = centres[chosen] + 0.65 * draws.standard_normal((len(chosen), DIM), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for row, vector in enumerate(vectors, first):
                writer.add(f"{row:08d}.jpg", bytes(32), (0, 0, 0), vector, b"")
        writer.finish("none", "none", folder, ())


def approximate(folder: Path, kind: str) -> None:
    """Print what FAISS takes and finds."""
    from mm_kptm.suites.search import approximate as approximating
    from mm_kptm.suites.search.generation import Generation
    from mm_kptm.suites.search.nearest import top_k

    start = time.perf_counter()
    found = approximating.approximate(folder, kind)
    generation = Generation.open(folder)
    index = approximating.open_approximate(generation)
    if found is None or index is None:
        return
    print(f"{kind} built and tuned in {time.perf_counter() - start:.0f} s, effort {found.effort}", flush=True)
    draws = np.random.default_rng(5)
    rows = draws.integers(len(generation), size=QUERIES)
    noise = draws.standard_normal((QUERIES, DIM), dtype=np.float32) / DIM**0.5
    queries = generation.vectors[rows] + 0.5 * noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    seconds, hits = [], 0
    for query in queries:
        true = set(top_k(generation.vectors, query, AT)[1].tolist())
        index.top_k(query, AT)
        taken, near = _timed(lambda query=query: index.top_k(query, AT)[1])  # type: ignore[misc]  # bound at once
        seconds.append(taken)
        hits += len(true & set(near.tolist()))
    print(f"{kind}: median {statistics.median(seconds) * 1e3:.1f} ms, recall@10 {hits / (AT * QUERIES):.3f}")


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main() -> None:
    """Make the vectors unless they are there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="kept for another run; a temporary one unless given")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--approximate", choices=("hnsw", "ivf"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "generation.json").is_file():
            make(folder, options.count)
        print(machine(), "load", load(), flush=True)
        words = [sys.executable, "-c", EXACT, str(folder / "vectors.f32"), str(options.count), str(DIM)]
        subprocess.run(words, check=True)
        if options.approximate:
            approximate(folder, options.approximate)


if __name__ == "__main__":
    main()
