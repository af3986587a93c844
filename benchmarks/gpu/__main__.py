"""Run the blocks on a CUDA device, or say what they would do: ``python -m benchmarks.gpu [H1 ...]``.

Every result is a line of JSON, written at once: first what must be equal, then milliseconds of a step (median and
middle half), rows a second, MFU, peak memory. A way whose loss differs from the first one's reports no time, and a
block that runs out of its time says so and leaves the rest of its ways out. ``--dry`` runs everything at tiny sizes on
the CPU, where the figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.blocks import BLOCKS, Block
from benchmarks.gpu.timing import timed
from benchmarks.machine import commit, machine
from mm_kptm.train.settings import TrainSettings
from mm_kptm.train.throughput import peak_flops


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 1 where a way is unequal or fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("blocks", nargs="*", help=f"of {', '.join(BLOCKS)}; all if none is named")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU, to see that everything runs")
    parser.add_argument("--out", type=Path, help="also append the lines to this file")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.blocks if name not in BLOCKS]:
        parser.error(f"no block is called {unknown[0]}; there are {', '.join(BLOCKS)}")
    chosen = {name: block for name, block in BLOCKS.items() if not given.blocks or name in given.blocks}
    if not torch.cuda.is_available() and not given.dry:
        print("No CUDA device is here. On one, this would run:\n")
        for name, block in chosen.items():
            print(f"{name:4}{block.seconds:4} s  {block.title}; {block.goal}")
        print(
            f"\n{sum(block.seconds for block in chosen.values())} s at most; --dry tries all of it at tiny sizes here."
        )
        return 0

    def say(line: Mapping[str, Any]) -> None:
        text = json.dumps(line)
        print(text, flush=True)
        if given.out is not None:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    name, dirty = commit()
    say({"machine": machine(), "commit": name, "dirty": dirty, "dry": given.dry})
    good = [run(name, block, dry=given.dry, say=say) for name, block in chosen.items()]
    return 0 if all(good) else 1


def run(name: str, block: Block, *, dry: bool, say: Callable[[Mapping[str, Any]], None]) -> bool:
    """Run the ways of one block; whether all of them were equal and none failed."""
    device = torch.device("cpu" if dry or not torch.cuda.is_available() else "cuda")
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    deadline, first, good = time.monotonic() + block.seconds, None, True
    try:
        for way in block.ways(device, dry):
            line: dict[str, Any] = {"block": name, "way": way.name, "goal": block.goal}
            if not dry and time.monotonic() > deadline:
                say({**line, "left_out": f"the {block.seconds} s of the block are over"})
                continue
            with way.ready():
                loss = float(way.step())
                first = loss if first is None else first
                if way.compared and not abs(loss - first) <= way.tolerance * max(1.0, abs(first)):
                    say({**line, "unequal": f"the loss is {loss:.6g}, that of the first way {first:.6g}"})
                    good = False
                    continue
                peak = peak_flops(device_name, TrainSettings(precision=way.precision))
                say({**line, "loss": loss, **timed(way, device, peak=peak, dry=dry)})
    except Exception as error:  # a block that fails must not take the others with it
        say({"block": name, "failed": f"{type(error).__name__}: {error}", "at": traceback.format_exc(limit=-2)})
        return False
    return good


if __name__ == "__main__":
    sys.exit(main())
