"""Weights that lie whole in every process; the gradients of several processes are averaged (DDP, Li et al. 2020)."""

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
from mm_kptm.train.parallel.shard_files import SHARDS, read_optimizer
from mm_kptm.train.protocol import BatchT, BatchTaken, Trainable, module_of
from mm_kptm.train.settings import TrainSettings


class LossModule(nn.Module, Generic[BatchTaken]):
    """A model's loss as a forward pass, which is where parallel wrappers and autocast take hold."""

    def __init__(self, model: Trainable[BatchTaken], device: torch.device, settings: TrainSettings) -> None:
        super().__init__()
        self.model = module_of(model)
        self._loss = torch.compile(model.loss, dynamic=True) if settings.compile else model.loss
        self._measure = model.measure
        self._device_type = device.type
        self._narrow = settings.precision == "bf16"

    def forward(self, batch: BatchTaken) -> Tensor:
        """The loss of the batch, a float32 scalar."""
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._narrow):
            return self._loss(batch).float()

    def loss(self, batch: BatchTaken) -> Tensor:
        """The same."""
        loss: Tensor = self(batch)
        return loss

    def measure(self, batch: BatchTaken) -> dict[str, Tensor]:
        """What the model measures."""
        return self._measure(batch)


class Replicated(Generic[BatchT]):
    """One process, or several with all weights each."""

    def __init__(self, model: Trainable[BatchT], accelerator: Accelerator, settings: TrainSettings) -> None:
        self.measured = model
        self._module = module_of(model)
        self._accelerator = accelerator
        self._scored = accelerator.prepare_model(LossModule(model, accelerator.device, settings))
        self.optimizer = optimizer_for(self._module, settings)

    def loss(self, batch: BatchT) -> Tensor:
        """The loss of a part of a step."""
        loss: Tensor = self._scored(batch)
        return loss

    def no_sync(self) -> AbstractContextManager[None]:
        """While gradients are only added up in this process: those of the last part of a step take them along."""
        quiet: AbstractContextManager[None] = self._accelerator.no_sync(self._scored)
        return quiet

    def clip_grad_norm(self, max_length: float | None) -> Tensor:
        """Shorten the gradient to ``longest``; its length before that."""
        return nn.utils.clip_grad_norm_(self._module.parameters(), math.inf if max_length is None else max_length)

    def save(self, checkpoints: Checkpoints, trainer: TrainerState, extra: Mapping[str, str]) -> Path | None:
        """Write a checkpoint; None in all processes but the first."""
        if not is_main_process():
            return None
        trainer = {**trainer, "optimizer": state_of(self.optimizer, self._module)}
        return checkpoints.save(self._module.state_dict(), trainer, extra)

    def restore(self, checkpoint: Path, state: OptimizerState | None) -> None:
        """Take weights and the optimiser's state from a checkpoint; None: the latter lies in its shards."""
        load_weights(checkpoint, self._module)
        if state is None:
            state = read_optimizer(checkpoint / SHARDS, dict(self._module.named_parameters()))
        load_state(self.optimizer, self._module, state)

    def gather_weights(self) -> None:
        """The model has its trained weights all along."""
