"""How the time of a step of embedding training grows with the number of entities, for negatives shared by a block.

    python -m benchmarks.embedding_slope [--block 4] [--entities 50000] [--doublings 3] [--steps 40]

prints CPU milliseconds a step at every doubling, and the slope of their logarithms: 0 where a step takes as long for
any number of entities, 1 where it grows as they do. The numbers that a step makes do not grow at all, which
``tests/knowledge/embedding/test_shared_negatives.py`` counts; what is left is memory that lies farther apart.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from statistics import median

import numpy as np
import torch

from mm_kptm.knowledge.embedding.geometries import GEOMETRIES
from mm_kptm.knowledge.embedding.shared_negatives import SharedNegatives, SharedNegativesTraining
from mm_kptm.knowledge.embedding.training import EmbeddingSettings

BATCH, NEGATIVES, DIM, RELATIONS, WARM = 1024, 32, 100, 200, 10

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  #: parameters of glibc's mallopt


def keep_memory() -> None:
    """Keep what a step frees: handed back to the kernel, and cleared for the next, it costs up to half of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's
        for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            mallopt(parameter, 1 << 30)


def milliseconds(model: str, block: int, entities: int, steps: int) -> float:
    """Median CPU time of a step on triples drawn uniformly."""
    generator = torch.Generator().manual_seed(0)
    settings = SharedNegatives(model, DIM, BATCH, block, NEGATIVES, epochs=1, lr=0.01, loss="nssa")
    training = SharedNegativesTraining(torch.empty(0, 3, dtype=torch.long), entities, RELATIONS, settings)
    taken = []
    for _ in range(WARM + steps):
        ends = torch.randint(entities, (BATCH, 2), generator=generator)
        kinds = torch.randint(RELATIONS, (BATCH, 1), generator=generator)
        triples = torch.cat([ends[:, :1], kinds, ends[:, 1:]], dim=1)
        began = time.process_time()
        training.step(triples)
        taken.append(1000 * (time.process_time() - began))
    return median(taken[WARM:])


def main() -> None:
    """Measure each model and print a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--block",
        type=int,
        default=EmbeddingSettings.block,
        help=f"triples that share {NEGATIVES} negatives (default: {EmbeddingSettings.block})",
    )
    parser.add_argument("--entities", type=int, default=50_000, help="in the smallest graph (default: 50,000)")
    parser.add_argument("--doublings", type=int, default=3, help="of their number (default: 3)")
    parser.add_argument("--steps", type=int, default=40, help="timed at each number (default: 40)")
    parser.add_argument("--model", action="append", choices=GEOMETRIES, help="one model, or several (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    sizes = [options.entities << number for number in range(options.doublings + 1)]
    for model in options.model or GEOMETRIES:
        taken = [milliseconds(model, options.block, entities, options.steps) for entities in sizes]
        slope = float(np.polyfit(np.log2(sizes), np.log2(taken), 1)[0])
        steps = {str(entities): round(one, 2) for entities, one in zip(sizes, taken, strict=True)}
        print(json.dumps({"model": model, "block": options.block, "ms_a_step": steps, "slope": round(slope, 3)}))


if __name__ == "__main__":
    main()
