"""Training settings: the ``train:`` block of an experiment, validated on construction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mm_kptm.errors import UserError

DEFAULT_STEPS = 1000  #: length of a run without ``steps`` and ``epochs``
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
    "patience",
    "max_hours",
    "log_every",
    "profile_steps",
    "shard_group",
    "layer_decay",
    "head_lr",
)


@dataclass(frozen=True)
class TrainSettings:
    """Hyperparameters of the trainer; an invalid value raises ``UserError``.

    The length of a run is given as ``steps`` or as ``epochs``: exactly one of them is set. Without either it is
    ``DEFAULT_STEPS``.
    """

    steps: int | None = None  #: optimizer steps of the whole run; 0 leaves the weights unchanged; or `epochs`
    epochs: int | None = None  #: passes over the training examples, instead of `steps`; 1000 steps if both are null
    batch_size: int = 32  #: examples per step, over all processes and accumulation; also per evaluation batch
    max_tokens: int | None = None  #: limit training batches by total length instead of ``batch_size``
    lr: float = 1e-4  #: peak learning rate
    warmup: float = 0.1  #: fraction of the steps with linear warm-up
    schedule: Literal["linear", "cosine", "constant", "wsd", "inverse-sqrt"] = "linear"  #: decay after warm-up
    decay_fraction: float = 0.3  #: last fraction of the steps, over which ``wsd`` decays to zero
    optimizer: Literal["adamw", "bert-adam"] = "adamw"  #: ``bert-adam`` is Adam without bias correction
    weight_decay: float = 0.01  #: not applied to vectors and scalars (biases, norms)
    betas: tuple[float, float] = (0.9, 0.999)  #: decay rates of Adam's first and second moments
    eps: float = 1e-8  #: Adam's epsilon; BERT was published with 1e-6
    max_grad_norm: float | None = 1.0  #: gradient clipping; null: none
    gradient_accumulation_steps: int = 1  #: micro-batches per process and step
    seed: int = 0  #: of example order, masks and dropout
    layer_decay: float = 1.0  #: learning rate of a layer over that of the next one up; 0.65 to 0.95 when fine-tuning
    head_lr: float | None = None  #: peak learning rate of task heads and other parts above the layers; null: `lr`
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  #: 16 bits: autocast with float32 weights; fp16 scales the loss
    tf32: bool = False  #: TensorFloat-32 for float32 matrix products on CUDA: faster, 10 bits instead of 23
    activation_checkpointing: bool = False  #: compute layers again in the backward pass: less memory, a third slower
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"  #: replicated or sharded weights
    compile: bool = False  #: apply torch.compile to the layers; the first steps take a minute
    fused: bool = True  #: fused AdamW kernel
    shard_group: int | None = (
        None  #: processes that hold one copy of sharded weights, such as those of a node; null: all
    )
    unused_parameters: bool | Literal["static"] = True
    """Whether some parameters may get no gradient; false is faster in DDP; static: looked for in the first step alone,
    where the same ones are left out in every step."""
    eval_every: int | None = None  #: steps between evaluations, besides the final one
    save_every: int | None = None  #: steps between checkpoints, besides the final one
    background_save: bool = False  #: write checkpoints in a thread, from a copy in the memory of the host
    keep_last: int = 2  #: newest checkpoints to keep
    monitor: str | None = None  #: also keep the best checkpoint by ``split/measure``, such as ``dev/accuracy``
    patience: int | None = None  #: stop after so many evaluations without a better `monitor`; null: never
    max_hours: float | None = (
        None  #: end after so many hours of a process, with a checkpoint to resume from; null: never
    )
    log_every: int = 10  #: steps between log lines
    profile_steps: int | None = None  #: write the trace of so many steps to ``profile.json`` of the run; null: none
    trackers: tuple[str, ...] = ()  #: also log to these: wandb, mlflow, tensorboard and others that Accelerate knows
    num_workers: int | None = None  #: worker processes that build batches; 0: none; null: 4 on CUDA, none elsewhere

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
        if self.layer_decay > 1:
            raise UserError(
                f"train.layer_decay is {self.layer_decay} but must not be greater than 1, with which all layers learn "
                "at the same rate"
            )
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
            ("precision", ("fp32", "bf16", "fp16")),
            ("parallel", ("auto", "ddp", "fsdp")),
            ("unused_parameters", (True, False, "static")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"train.{name} is {getattr(self, name)!r} but must be one of {', '.join(map(str, choices))}"
                )
        if self.monitor is not None and "/" not in self.monitor:
            raise UserError(
                f"train.monitor is {self.monitor!r} but must name a split and a measure, such as dev/accuracy"
            )

        if self.patience is not None and (self.monitor is None or self.eval_every is None):
            raise UserError(
                f"train.patience is {self.patience}, but nothing is watched during training; set train.monitor, "
                "such as dev/accuracy, and train.eval_every"
            )

    @property
    def num_steps(self) -> int:
        """Length of the run in steps.

        Raises:
            UserError: the length is given in epochs and not converted by :meth:`in_steps`.
        """
        if self.steps is None:
            raise UserError(f"train.epochs is {self.epochs}, but train.steps is needed here; set train.steps")
        return self.steps

    def in_steps(self, steps_of: Callable[[int], int]) -> TrainSettings:
        """Convert the length of the run from epochs to steps.

        Args:
            steps_of: maps a number of epochs to steps, such as :meth:`mm_kptm.data.sampler.Sampler.num_batches`.
        """
        return self if self.epochs is None else replace(self, steps=steps_of(self.epochs), epochs=None)
