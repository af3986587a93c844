"""Interface of parallel strategies: replicated or sharded weights behind the same methods."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.train.checkpoint import Checkpoints, TrainerState
from mm_kptm.train.optim import OptimizerState
from mm_kptm.train.parallel.processes import start
from mm_kptm.train.parallel.replicated import Replicated
from mm_kptm.train.protocol import BatchT, Trainable
from mm_kptm.train.settings import TrainSettings

_LAUNCHES = (
    DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.MULTI_XPU,
    DistributedType.FSDP,
)  # fmt: skip


class Parallel(Protocol[BatchT]):
    """Model trained by all processes together; every method is collective."""

    measured: Trainable[BatchT]  #: module to evaluate: the model, or its sharded copy
    optimizer: torch.optim.Optimizer

    def loss(self, batch: BatchT) -> Tensor:
        """Loss of a micro-batch, a float32 scalar."""

    def no_sync(self) -> AbstractContextManager[None]:
        """Context manager: accumulate gradients locally; the last micro-batch of a step synchronises them."""

    def clip_grad_norm(self, max_length: float | None) -> Tensor:
        """Clip the gradient norm to ``max_length`` (None: do not clip) and return the norm before clipping."""

    def save(self, checkpoints: Checkpoints, trainer: TrainerState, extra: Mapping[str, str]) -> Path | None:
        """Write a checkpoint and return its path; None in all processes but the first."""

    def restore(self, checkpoint: Path, state: OptimizerState | None) -> None:
        """Load weights and optimiser state from a checkpoint."""

    def gather_weights(self) -> None:
        """Copy the trained weights into the model, in every process."""


def accelerator_for(settings: TrainSettings) -> Accelerator:
    """Accelerator of this launch; ``UserError`` for a launch other than DDP or FSDP 2."""
    start()
    if _launched_sharded() and os.environ.get("FSDP_VERSION", "1") == "1":
        raise UserError(
            "this launch asks for fsdp of version 1, but weights are sharded as version 2 does; add --fsdp_version 2"
        )
    accelerator = Accelerator(
        mixed_precision="no",  # LossModule applies autocast itself, whatever the launcher requests
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                find_unused_parameters=settings.unused_parameters is True,
                static_graph=settings.unused_parameters == "static",
                gradient_as_bucket_view=True,
            )
        ],
    )
    if accelerator.distributed_type not in _LAUNCHES:
        raise UserError(
            f"this launch asks for {accelerator.distributed_type.value}, but training runs in one process or "
            "data-parallel; use torchrun or accelerate launch --multi_gpu or --use_fsdp"
        )
    return accelerator


def parallel_strategy(settings: TrainSettings) -> Literal["one process", "ddp", "fsdp"]:
    """Parallel strategy of this launch, after the processes have joined."""
    if not torch.distributed.is_initialized():
        return "one process"
    launched = _launched_sharded()
    if launched and settings.parallel == "ddp":
        raise UserError(
            "train.parallel is ddp, but this launch asks for fsdp; launch without --use_fsdp or say train.parallel auto"
        )
    return "fsdp" if launched or settings.parallel == "fsdp" else "ddp"


def parallel_for(model: Trainable[BatchT], accelerator: Accelerator, settings: TrainSettings) -> Parallel[BatchT]:
    """Wrap the model for the parallel strategy of ``settings`` and the launch."""
    if parallel_strategy(settings) == "fsdp":
        from mm_kptm.train.parallel.sharded import FullySharded  # brings torch's sharding, which others need not hold

        return FullySharded(model, accelerator, settings)
    return Replicated(model, accelerator, settings)


def _launched_sharded() -> bool:
    """Whether ``accelerate launch`` requests FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
