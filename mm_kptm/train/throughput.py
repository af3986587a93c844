"""Speed and memory of training: rows a second, model FLOPs utilisation (MFU) and peak memory, for the log.

MFU is the share of the device's peak that the model itself needs, whatever is computed again (Chowdhery et al. 2022,
PaLM, appendix B). Counted are the matrix products of the encoder's layers, two FLOPs a multiplication and three passes;
attention scores, embeddings and heads are left out, so that it is a lower bound.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.train.compilation import compilable_parts
from mm_kptm.train.settings import TrainSettings

#: Peak of dense matrix products by the name of the device, in TFLOP/s: 16 bits, TensorFloat-32, float32 (data sheets).
PEAKS = {
    "B200": (2250.0, 1100.0, 75.0),
    "H200": (989.0, 494.0, 67.0),
    "H100": (989.0, 494.0, 67.0),
    "A100": (312.0, 156.0, 19.5),
    "L40S": (362.0, 183.0, 91.6),
    "L4": (121.0, 60.0, 30.3),
    "A10": (125.0, 62.5, 31.2),
    "V100": (125.0, 15.7, 15.7),
    "T4": (65.0, 8.1, 8.1),
}


def peak_flops(device_name: str, settings: TrainSettings) -> float | None:
    """FLOP/s of a device at the precision of a run; None where the device is not known."""
    found = next((peaks for name, peaks in PEAKS.items() if name in device_name), None)
    if found is None:
        return None
    return 1e12 * found[0 if settings.precision != "fp32" else 1 if settings.tf32 else 2]


class Throughput:
    """Rows, FLOPs and memory since the last log line.

    Args:
        device: of the model.
        settings: training settings.
        peak: FLOP/s of the device; None: looked up by its name.
    """

    def __init__(self, device: torch.device, settings: TrainSettings, *, peak: float | None = None) -> None:
        self._device = device
        if peak is None and device.type == "cuda":
            peak = peak_flops(torch.cuda.get_device_name(device), settings)
        self._peak = peak
        self._rows = 0
        self._flops = 0.0
        self._began = time.perf_counter()

    @contextmanager
    def counted(self, model: nn.Module) -> Iterator[None]:
        """Context manager: count the FLOPs of the layers of ``model`` while it trains."""
        handles = [part.register_forward_hook(self._count) for part in compilable_parts(model)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _count(self, part: nn.Module, _: Any, output: Any) -> None:
        if part.training and isinstance(output, Tensor) and output.requires_grad:
            weights = sum(one.weight.numel() for one in part.modules() if isinstance(one, nn.Linear))
            self._flops += 3 * 2.0 * weights * len(output)

    def add(self, rows: int) -> None:
        """Count the rows of a step, of all processes."""
        self._rows += rows

    def pause(self, seconds: float) -> None:
        """Leave out time in which nothing was trained."""
        self._began += seconds

    def measures(self) -> dict[str, float]:
        """What the log says of the steps since the last call."""
        took = time.perf_counter() - self._began
        found: dict[str, float] = {"rows_per_s": round(self._rows / took)}
        if self._peak is not None:
            found["mfu"] = round(self._flops / took / self._peak, 4)
        if self._device.type == "cuda":
            found["peak_memory_gb"] = round(torch.cuda.max_memory_allocated(self._device) / 2**30, 3)
            torch.cuda.reset_peak_memory_stats(self._device)
        self._rows, self._flops, self._began = 0, 0.0, time.perf_counter()
        return found
