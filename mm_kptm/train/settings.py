"""How a run is trained: the numbers of a ``train:`` block, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.errors import UserError

_POSITIVE = (
    "batch_size", "max_tokens", "lr", "eps", "max_grad_norm", "gradient_accumulation_steps", "eval_every", "save_every", "keep_last",
    "log_every",
)  # fmt: skip


@dataclass(frozen=True)
class TrainSettings:
    """Everything the trainer can be told; a value that makes no sense raises ``UserError``."""

    steps: int = 1000  #: optimiser steps of the whole run, resumed or not; 0 leaves the weights as they are
    batch_size: int = 32  #: examples of a step, over all processes and accumulated parts; also of an evaluation batch
    max_tokens: int | None = None  #: cut training batches at this sum of lengths instead of at ``batch_size``
    lr: float = 1e-4  #: the highest learning rate
    warmup: float = 0.1  #: fraction of the steps over which the rate rises from zero
    schedule: Literal["linear", "cosine", "constant", "wsd", "inverse-sqrt"] = "linear"  #: how it falls afterwards
    decay_fraction: float = 0.3  #: fraction of the steps, the last ones, over which a ``wsd`` rate falls to zero
    optimizer: Literal["adamw", "bert-adam"] = "adamw"  #: ``bert-adam`` is Adam without bias correction
    weight_decay: float = 0.01  #: not applied to vectors and scalars (biases, norms)
    betas: tuple[float, float] = (0.9, 0.999)  #: how slowly the means of gradient and squared gradient forget
    eps: float = 1e-8  #: added to the divisor of an update; BERT was published with 1e-6
    max_grad_norm: float | None = 1.0  #: longest gradient norm
    gradient_accumulation_steps: int = 1  #: parts a process computes one after the other to make a step
    seed: int = 0  #: order of the examples, masks, dropout
    precision: Literal["fp32", "bf16"] = "fp32"  #: bf16 is autocast: the weights stay float32
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"  #: whole weights in each process, or sharded over all
    compile: bool = False  #: torch.compile the loss
    fused: bool = True  #: one kernel for the whole AdamW update
    unused_parameters: bool = True  #: a step may leave some without gradient; false saves several processes a look
    eval_every: int | None = None  #: steps between evaluations; there is always one at the end
    save_every: int | None = None  #: steps between checkpoints; there is always one at the end
    keep_last: int = 2  #: youngest checkpoints kept
    monitor: str | None = None  #: also keep the one with the highest ``split/measure``, such as ``dev/accuracy``
    log_every: int = 10  #: steps between lines of the log
    num_workers: int = 0  #: processes that make batches ahead of time; 0 makes them in this one

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"train.{name} is {value} but must be greater than 0")
        for name in ("steps", "weight_decay", "num_workers"):
            if not getattr(self, name) >= 0:
                raise UserError(f"train.{name} is {getattr(self, name)} but must not be negative")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"train.warmup is {self.warmup} but must be a fraction of the steps between 0 and 1")
        if not 0 < self.decay_fraction <= 1:
            raise UserError(
                f"train.decay_fraction is {self.decay_fraction} but must be a fraction of the steps above 0 and not greater than 1"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"train.betas are {list(self.betas)} but must lie between 0 and 1")
        for name, choices in (
            ("schedule", ("linear", "cosine", "constant", "wsd", "inverse-sqrt")),
            ("optimizer", ("adamw", "bert-adam")),
            ("precision", ("fp32", "bf16")),
            ("parallel", ("auto", "ddp", "fsdp")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(f"train.{name} is {getattr(self, name)!r} but must be one of {', '.join(choices)}")
        if self.monitor is not None and "/" not in self.monitor:
            raise UserError(
                f"train.monitor is {self.monitor!r} but must name a split and a measure, such as dev/accuracy"
            )
