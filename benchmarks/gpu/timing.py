"""One way of doing a block's step, and how long it takes on the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mm_kptm.train.settings import TrainSettings
from mm_kptm.train.throughput import Throughput

WARM, TIMED = 5, 15  #: steps before the clock and under it


@dataclass(frozen=True)
class Way:
    """A step of training, forward, backward and optimiser, done in one way."""

    name: str
    step: Callable[[], Tensor]  #: returns the loss
    rows: int  #: rows, or pairs, of a step
    model: nn.Module | None = None  #: whose layers are counted; None: ``flops`` says it
    flops: float = 0.0  #: of a step
    compared: bool = True  #: whether its loss is that of the first way
    tolerance: float = 2e-2  #: relative; 16 bits round
    precision: Literal["fp32", "bf16"] = "bf16"
    ready: Callable[[], AbstractContextManager[None]] = nullcontext


def timed(way: Way, device: torch.device, *, peak: float | None, dry: bool) -> dict[str, Any]:
    """Milliseconds, rows a second, MFU and peak memory of a way."""
    for _ in range(1 if dry else WARM):
        way.step()
    flops = way.flops if way.model is None else _flops(way, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    took = [_once(way, device) for _ in range(2 if dry else TIMED)]
    low, middle, high = statistics.quantiles(took, n=4, method="inclusive")
    found = {"ms": round(middle, 3), "ms_low": round(low, 3), "ms_high": round(high, 3)}
    found["rows_per_s"] = round(way.rows / middle * 1e3)
    if peak is not None and flops:
        found["mfu"] = round(flops / (middle / 1e3) / peak, 4)
    if device.type == "cuda":
        found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return found


def _once(way: Way, device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        way.step()
        return 1e3 * (time.perf_counter() - began)
    began_at, ended_at = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began_at.record()
    way.step()
    ended_at.record()
    ended_at.synchronize()
    return float(began_at.elapsed_time(ended_at))


def _flops(way: Way, device: torch.device) -> float:
    assert way.model is not None
    counter = Throughput(device, TrainSettings(), peak=1.0)
    with counter.counted(way.model):
        way.step()
    return counter.flops
