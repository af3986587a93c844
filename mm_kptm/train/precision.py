"""Number formats of training: autocast in 16 bits, loss scaling, TensorFloat-32.

Weights, gradients and optimiser state stay float32; only what is computed in the forward and backward pass is narrower
(Micikevicius et al. 2018, Mixed precision training).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch

from mm_kptm.errors import UserError
from mm_kptm.train.settings import TrainSettings

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

_NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 2.0**-14  #: loss scale below which float16 holds no gradient of this model


def autocast(device: torch.device | str, precision: Precision) -> torch.autocast:
    """Context manager: operations on ``device`` that are safe in 16 bits run in those of ``precision``."""
    kind = torch.device(device).type
    return torch.autocast(kind, _NARROW.get(precision, torch.bfloat16), enabled=precision in _NARROW)


def grad_scaler(device: torch.device, settings: TrainSettings) -> torch.amp.GradScaler:
    """Scaler of the loss (ibid., section 3.2); without effect unless the precision is fp16.

    It multiplies the loss, so that small gradients do not become zero in float16, skips a step whose gradients
    overflow, and halves the scale then.
    """
    return torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")


def check_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Check that steps are not skipped for ever; waits for the device.

    Raises:
        UserError: the gradients overflow however small the loss is made.
    """
    if scaler.is_enabled() and (scale := scaler.get_scale()) < SMALLEST_SCALE:
        raise UserError(
            f"the gradients overflow float16 at step {step} even with the loss scaled by {scale:g}; train with "
            "train.precision bf16 or fp32"
        )


@contextmanager
def matmul_precision(settings: TrainSettings) -> Iterator[None]:
    """Context manager: float32 matrix products use TensorFloat-32 on CUDA if ``settings.tf32``, else all 32 bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def float32_hint(settings: TrainSettings, device: torch.device) -> str | None:
    """What to say of a run in float32 on CUDA, where faster formats exist; None elsewhere."""
    if device.type != "cuda" or settings.precision != "fp32":
        return None
    if settings.tf32:
        return "float32 with TensorFloat-32: matrix products round their factors to 10 bits (train.tf32)"
    return "float32 in all bits; train.tf32 true or train.precision bf16 is several times faster on this device"
