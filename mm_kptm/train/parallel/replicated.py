"""Replicated weights: every process holds all of them and gradients are averaged (DDP, Li et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Generic

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mm_kptm.train.checkpoint import Checkpoints, TrainerState, load_weights
from mm_kptm.train.optim import OptimizerState, load_state, optimizer_for, state_of
from mm_kptm.train.parallel.processes import is_main_process
from mm_kptm.train.precision import autocast
from mm_kptm.train.protocol import AfterStep, BatchT, BatchTaken, Trainable, module_of
from mm_kptm.train.settings import TrainSettings


class LossModule(nn.Module, Generic[BatchTaken]):
    """Module whose forward pass is the model's loss, for parallel wrappers and autocast."""

    def __init__(self, model: Trainable[BatchTaken], device: torch.device, settings: TrainSettings) -> None:
        super().__init__()
        self.model = module_of(model)
        self._loss = model.loss
        self._measure = model.measure
        self._device = device
        self._precision = settings.precision

    def forward(self, batch: BatchTaken) -> Tensor:
        """Loss of the batch, a float32 scalar."""
        with autocast(self._device, self._precision):
            return self._loss(batch).float()

    def loss(self, batch: BatchTaken) -> Tensor:
        """As :meth:`forward`."""
        loss: Tensor = self(batch)
        return loss

    def measure(self, batch: BatchTaken) -> dict[str, Tensor]:
        """Measures of the model."""
        return self._measure(batch)

    def after_step(self, step: int) -> None:
        """As the model's, if it has any (:class:`~mm_kptm.train.protocol.AfterStep`)."""
        if isinstance(self.model, AfterStep):
            self.model.after_step(step)


class Replicated(Generic[BatchT]):
    """One process, or several with replicated weights."""

    def __init__(self, model: Trainable[BatchT], accelerator: Accelerator, settings: TrainSettings) -> None:
        self.measured = model
        self._module = module_of(model)
        self._accelerator = accelerator
        self._scored = accelerator.prepare_model(LossModule(model, accelerator.device, settings))
        self.optimizer = optimizer_for(self._module, settings)

    def loss(self, batch: BatchT) -> Tensor:
        """Loss of a micro-batch."""
        loss: Tensor = self._scored(batch)
        return loss

    def no_sync(self) -> AbstractContextManager[None]:
        """Context manager: accumulate gradients locally; the last micro-batch of a step synchronises them."""
        quiet: AbstractContextManager[None] = self._accelerator.no_sync(self._scored)
        return quiet

    def clip_grad_norm(self, max_length: float | None) -> Tensor:
        """Clip the gradient norm to ``max_length`` (None: do not clip) and return the norm before clipping."""
        return nn.utils.clip_grad_norm_(self._module.parameters(), math.inf if max_length is None else max_length)

    def save(self, checkpoints: Checkpoints, trainer: TrainerState, extra: Mapping[str, str]) -> Path | None:
        """Write a checkpoint and return its path; None in all processes but the first."""
        if not is_main_process():
            return None
        trainer = {**trainer, "optimizer": state_of(self.optimizer, self._module)}
        return checkpoints.save(self._module.state_dict(), trainer, extra)

    def restore(self, checkpoint: Path, state: OptimizerState | None) -> None:
        """Load weights and optimiser state from a checkpoint; ``state`` None: read it from the shards."""
        load_weights(checkpoint, self._module)
        if state is None:
            from mm_kptm.train.parallel.shard_files import SHARDS, read_optimizer  # brings torch's sharding

            state = read_optimizer(checkpoint / SHARDS, dict(self._module.named_parameters()))
        load_state(self.optimizer, self._module, state)

    def gather_weights(self) -> None:
        """Do nothing: the model is trained in place."""
