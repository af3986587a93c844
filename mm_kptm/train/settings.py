"""How a run is trained: the values of a ``train:`` block, checked when they are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mm_kptm.errors import UserError

DEFAULT_STEPS = 1000  #: of a run whose length nobody gave
_POSITIVE = (
    "epochs",
    "batch_size",
    "max_tokens",
    "lr",
    "eps",
    "max_grad_norm",
    "gradient_accumulation_steps",
    "eval_every",
    "save_every",
    "keep_last",
    "log_every",
)


@dataclass(frozen=True)
class TrainSettings:
    """Settings of the trainer; a value that makes no sense raises ``UserError``.

    The length of a run is given as ``steps`` or as ``epochs``: exactly one of them is set. Without either it is
    ``DEFAULT_STEPS``.
    """

    steps: int | None = None  #: optimizer steps of the whole run; 0 leaves the weights as they are; or `epochs`
    epochs: int | None = None  #: passes over the training examples, in place of `steps`; 1000 steps where both are null
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
        if self.steps is not None and self.epochs is not None:
            raise UserError(
                f"train.steps is {self.steps} and train.epochs is {self.epochs}, but one of them sets the length of "
                "the run; leave the other out, or set it to null"
            )
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "steps", DEFAULT_STEPS)
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"train.{name} is {value} but must be greater than 0")
        for name in ("steps", "weight_decay", "num_workers"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UserError(f"train.{name} is {value} but must not be negative")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"train.warmup is {self.warmup} but must be a fraction of the steps between 0 and 1")
        if not 0 < self.decay_fraction <= 1:
            raise UserError(
                f"train.decay_fraction is {self.decay_fraction} but must be a fraction of the steps above 0 and not "
                "greater than 1"
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

    @property
    def num_steps(self) -> int:
        """``steps``, where the length of the run is known in steps.

        Raises:
            UserError: the length is given in epochs, and no source says how many steps these are.
        """
        if self.steps is None:
            raise UserError(f"train.epochs is {self.epochs}, but train.steps is needed here; set train.steps")
        return self.steps

    def in_steps(self, steps_of: Callable[[int], int]) -> TrainSettings:
        """The same settings with the length in steps.

        Args:
            steps_of: the number of steps in so many epochs, as :meth:`mm_kptm.data.sampler.Sampler.num_batches` counts.
        """
        return self if self.epochs is None else replace(self, steps=steps_of(self.epochs), epochs=None)
