"""Retrieval of translations among many: ``python -m benchmarks.retrieval [--count 100000] [--dim 256]``.

Vectors of pairs of translations with noise, as a sentence encoder gives them. Each way of searching runs in a process
of its own, which prints its seconds, the share of pairs that it finds and its peak resident memory: the nearest by
cosine (Tatoeba), the nearest by margin, and mining with a greedy choice (BUCC). A first process that does the same with
few vectors says what imports take.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.machine import load, machine

SEARCH = """
import sys, time
import torch
from mm_kptm.crosslingual.alignment.margin_mining import margin_nearest, mine, nearest
way, count, dim, noise = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
draws = torch.Generator().manual_seed(0)
source = torch.randn(count, dim, generator=draws)
target = torch.randn(count, dim, generator=draws).mul_(noise).add_(source)
truth = torch.arange(count)
start = time.perf_counter()
if way == "nearest":
    found = (nearest(source, target) == truth).float().mean()
elif way == "margin":
    found = (margin_nearest(source, target) == truth).float().mean()
else:
    pairs = mine(source, target).pairs
    found = (pairs[:, 0] == pairs[:, 1]).sum() / count
seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{way} among {count:,} x {count:,} of {dim} dims: {seconds:.1f} s, {100 * found:.2f} % found, "
      f"peak resident memory {peak / 1024:,.0f} MB", flush=True)
"""


def main() -> None:
    """Search in every way, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="pairs of translations (default: 100,000)")
    parser.add_argument("--dim", type=int, default=256, help="width of a vector (default: 256)")
    parser.add_argument("--noise", type=float, default=3.0, help="of a translation, beside its sentence's 1")
    options = parser.parse_args()
    print(machine(), "load", load(), flush=True)
    for way, count in (("nearest", 100), *((way, options.count) for way in ("nearest", "margin", "mine"))):
        words = [way, str(count), str(options.dim), str(options.noise)]
        subprocess.run([sys.executable, "-c", SEARCH, *words], check=True)


if __name__ == "__main__":
    main()
