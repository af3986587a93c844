"""Training loop: steps, evaluations and checkpoints, reproducible across restarts and numbers of processes.

All randomness of a step is a function of (seed, step, micro-batch): the order of the examples, the masks and, because
the global generator is re-seeded for every micro-batch, dropout. A run resumed from its last checkpoint therefore
repeats the same steps without saved generator states, and a given number of micro-batches is the same step whether
several processes compute them in parallel or one accumulates them. Processes come from ``torchrun`` or ``accelerate
launch``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor

from mm_kptm.data.sampler import Sampler, seed_of
from mm_kptm.errors import UserError
from mm_kptm.train.activation_checkpointing import checkpointed_activations
from mm_kptm.train.checkpoint import Best, Checkpoints, TrainerState, load_trainer, verify
from mm_kptm.train.compilation import compiled_layers
from mm_kptm.train.environment import environment, write_environment
from mm_kptm.train.evaluation import Evaluation, Numbered, loader_of
from mm_kptm.train.evaluation import evaluate as measure
from mm_kptm.train.loading import Copies, Loader, num_workers_for, prefetch
from mm_kptm.train.log import Log
from mm_kptm.train.losses import Losses
from mm_kptm.train.monitor import check_monitored_measure, check_monitored_split, new_best, out_of_patience
from mm_kptm.train.optim import lr_at, set_lr
from mm_kptm.train.parallel.processes import barrier, is_main_process, rank_and_world_size, standing_in
from mm_kptm.train.parallel.protocol import accelerator_for, parallel_for, parallel_strategy
from mm_kptm.train.precision import check_scale, float32_hint, grad_scaler, matmul_precision
from mm_kptm.train.preemption import Preemption
from mm_kptm.train.profiling import profiled
from mm_kptm.train.protocol import AfterEvaluation, AfterStep, BatchT, Source, Trainable, lengths_of, module_of
from mm_kptm.train.settings import TrainSettings
from mm_kptm.train.step import BatchBuilder, StepPlan, seed_generators
from mm_kptm.train.throughput import Throughput
from mm_kptm.train.trackers import Trackers, check_trackers


@dataclass(frozen=True)
class Fit:
    """Result of a training run."""

    checkpoint: Path  #: the last one, loaded in the model
    best: Path | None  #: the one with the best ``settings.monitor``, if set
    evaluations: dict[str, Evaluation]  #: of the final weights, by split
    step: int  #: of the last checkpoint; below the length of the run if it was stopped early


def fit(
    model: Trainable[BatchT],
    source: Source[BatchT],
    settings: TrainSettings,
    folder: Path,
    *,
    evaluate: Mapping[str, Source[BatchT]] | None = None,
    resume: bool = False,
    extra: Mapping[str, str] | None = None,
    label: str = "train",
    progress: bool = True,
    hyperparameters: Mapping[str, object] | None = None,
) -> Fit:
    """Train ``model`` on ``source`` and write the run to ``folder``.

    Args:
        model: a module with ``loss`` and ``measure``; trained in place and left in training mode.
        source: training examples.
        settings: training settings.
        folder: the run folder; gets ``environment.json``, ``metrics.jsonl``, ``events/`` and ``checkpoints/``.
        evaluate: sources evaluated during and after training, by split.
        resume: resume from the last checkpoint in ``folder``, or start if there is none. Needs the original model,
            source and settings; only the length, patience and settings that do not affect the weights may differ.
        extra: text files added to every checkpoint, by name, such as the config that rebuilds the model.
        label: name of the run in the progress line.
        progress: show the progress line.
        hyperparameters: what trackers show of the run; None: the training settings.

    Raises:
        UserError: the folder holds another run, a checkpoint is damaged or from other data, the loss is not finite.
        Preempted: SIGTERM, SIGUSR1 or ``settings.max_hours`` ended the run early; its last step is saved.
    """
    splits = dict(evaluate or {})
    check_monitored_split(settings, splits)
    check_trackers(settings.trackers)
    checkpoints = Checkpoints(folder)
    start = checkpoints.find("latest")
    if start is not None and not resume:
        raise UserError(f"{folder} already holds a run ({start.name}); resume it or name another folder")
    run = _Run(model, source, settings, folder, splits, dict(extra or {}))
    if start is not None:
        run.restore(start)
    with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []), run.computing():
        return run.train(resume=resume, label=label, progress=progress, hyperparameters=hyperparameters)


def sampler_for(source: Source[BatchT], settings: TrainSettings) -> Sampler:
    """Build the sampler of a run on ``source``; its ``num_batches`` converts epochs to steps."""
    return Sampler(
        lengths_of(source),
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
    )


class _Run(Generic[BatchT]):
    """State of one ``fit`` call."""

    def __init__(
        self,
        model: Trainable[BatchT],
        source: Source[BatchT],
        settings: TrainSettings,
        folder: Path,
        splits: dict[str, Source[BatchT]],
        extra: dict[str, str],
    ) -> None:
        self._sampler = sampler_for(source, settings)
        self._asked, settings = settings, settings.in_steps(self._sampler.num_batches)
        self._steps = settings.num_steps
        accelerator = accelerator_for(settings)
        self.device: torch.device = accelerator.device
        self._workers, self._send = num_workers_for(settings.num_workers, self.device), Copies(self.device)
        self._loaders: dict[str, Loader[Numbered, BatchT]] = {}  # of evaluations, by split
        self._way = parallel_strategy(settings)
        self._parallel = parallel_for(model, accelerator, settings)
        self._training = module_of(self._parallel.measured)
        rank, self._processes = rank_and_world_size()
        self._make = BatchBuilder(
            source,
            settings.seed,
            local_parts=range(
                rank * settings.gradient_accumulation_steps, (rank + 1) * settings.gradient_accumulation_steps
            ),
            parts=self._processes * settings.gradient_accumulation_steps,
        )
        self._scaler = grad_scaler(self.device, settings)
        self._losses = Losses(accelerator.gather, settings.lr, may_overflow=self._scaler.is_enabled())
        self._checkpoints = Checkpoints(folder, background=settings.background_save)
        self._settings, self._folder, self._splits, self._extra = settings, folder, splits, extra
        self._step = 0
        self._best: Best | None = None

    def restore(self, checkpoint: Path) -> None:
        """Restore the state of the run at ``checkpoint``."""
        verify(checkpoint)
        state = load_trainer(checkpoint)
        if state["step"] > self._steps:
            epochs = self._asked.epochs
            end = f"train.steps {self._steps}" if epochs is None else f"train.epochs {epochs} ({self._steps} steps)"
            raise UserError(
                f"{checkpoint} is at step {state['step']}, past {end}; ask for at least {state['step']} steps"
            )
        self._sampler.load_state_dict(state["sampler"])
        self._parallel.restore(checkpoint, state["optimizer"])
        self._step, self._losses.window, self._best = state["step"], state["window"], state["best"]
        self._scaler.load_state_dict(dict(state.get("scaler", self._scaler.state_dict())))
        if is_main_process():
            self._checkpoints.rewind(self._step, self._best, self._settings.keep_last)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Context manager: how the steps are computed, which changes none of the states that are saved."""
        settings = self._settings
        with (
            matmul_precision(settings),
            compiled_layers(self._training, enabled=settings.compile),  # inside of what is checkpointed
            checkpointed_activations(self._training, enabled=settings.activation_checkpointing),
        ):
            yield

    def train(self, *, resume: bool, label: str, progress: bool, hyperparameters: Mapping[str, object] | None) -> Fit:
        """Run the remaining steps."""
        settings, main = self._settings, is_main_process()
        check_monitored_measure(self._parallel.measured, self._splits, settings, self.device)
        if main:
            self._folder.mkdir(parents=True, exist_ok=True)
            facts = environment(device=self.device, processes=self._processes, parallel=self._way, seed=settings.seed)
            write_environment(self._folder, facts, resumed_at=self._step if resume else None)
        barrier()
        evaluations: dict[str, Evaluation] = {}
        self._training.train()
        shown = asdict(settings) if hyperparameters is None else hyperparameters
        trackers = partial(Trackers, settings.trackers, self._folder, label, shown) if settings.trackers else None
        speed = Throughput(self.device, settings)
        with (
            Preemption(settings.max_hours) as preemption,
            Log(
                self._folder,
                label=label,
                steps=self._steps,
                start=self._step,
                speaking=main,
                progress=progress,
                trackers=trackers,
            ) as log,
            speed.counted(self._training),
            profiled(self._folder, settings.profile_steps if main else None) as profiled_step,
        ):
            if (hint := float32_hint(settings, self.device)) is not None:
                log.say(hint)
            for plan, batches in prefetch(self._make, self._plans(), num_workers=self._workers):
                self._compute(plan, batches)
                speed.add(self._sampler.rows(plan.indices.indices))
                profiled_step()
                last = self._step == self._steps
                looks = last or _due(self._step, settings.eval_every)
                saves = last or _due(self._step, settings.save_every)
                speaks = last or _due(self._step, settings.log_every)
                ends = preemption.requested() and not last
                if looks or saves or speaks or ends or (self.device.type == "cpu" and self._processes == 1):
                    self._losses.flush()
                    check_scale(self._scaler, self._step)
                if speaks:
                    log.measures(self._step, "train", self._spoken(speed.measures()))
                paused = time.perf_counter()
                if looks:
                    evaluations = self._evaluate(log)
                    saves |= self._is_best(evaluations)
                stops = not last and self._out_of_patience
                if saves or stops or ends:
                    self._save()
                speed.pause(time.perf_counter() - paused)
                log.step()
                if stops:
                    log.say(f"stopped: no better {settings.monitor} in {settings.patience} evaluations")
                    break
                if ends:
                    self._checkpoints.wait()
                    raise preemption.preempted(self._step, self._steps)
            if self._best is not None and evaluations:
                best, name = self._best["step"], settings.monitor
                rest = "" if best == self._step else f"; the weights of the model are those of step {self._step}"
                log.say(f"best {name} {self._best['value']:.4g} at step {best}{rest}")
        if self._steps == 0:
            self._save()
        if not evaluations:  # resumed after the last step: evaluate again, do not log again
            evaluations = {split: self._measure(split, source) for split, source in self._splits.items()}
        self._parallel.gather_weights()
        self._checkpoints.wait()
        barrier()
        saved = self._checkpoints.find("latest")
        if saved is None:
            raise FileNotFoundError(f"the checkpoints in {self._folder} vanished while the run was writing them")
        return Fit(saved, self._checkpoints.find("best"), evaluations, self._step)

    def _plans(self) -> Iterator[StepPlan]:
        """Iterate over the plans of the remaining steps."""
        left = range(self._step + 1, self._step if self._out_of_patience else self._steps + 1)
        return (StepPlan(step, draw) for step, draw in zip(left, self._sampler, strict=False))

    def _compute(self, plan: StepPlan, batches: list[BatchT]) -> None:
        """Run one optimiser step; losses stay on the device until they are logged."""
        settings, make, optimizer = self._settings, self._make, self._parallel.optimizer
        set_lr(optimizer, lr_at(plan.step, settings))
        losses: list[Tensor] = []
        for part, batch in zip(make.local_parts, batches, strict=True):
            seed_generators(seed_of(settings.seed, plan.step, part), self.device)
            weight = plan.weight(part, make.parts) * self._processes  # DDP averages over processes
            with self._parallel.no_sync() if part != make.local_parts[-1] else nullcontext(), standing_in(not weight):
                loss = self._parallel.loss(self._send(batch))
                self._scaler.scale(loss * weight).backward()
            losses.append(loss.detach())
        self._scaler.unscale_(optimizer)
        norm = self._parallel.clip_grad_norm(settings.max_grad_norm)
        self._scaler.step(optimizer)  # nothing where a gradient overflowed
        self._scaler.update()
        optimizer.zero_grad()
        if isinstance(trained := self._parallel.measured, AfterStep):
            with torch.no_grad():
                trained.after_step(plan.step)
        self._step = plan.step
        self._sampler.advance(plan.indices)
        self._losses.add(plan, losses, norm)

    def _spoken(self, speed: dict[str, float]) -> dict[str, float]:
        """Log values of the steps since the last log line."""
        return {
            "loss": self._losses.mean(),
            "lr": lr_at(self._step, self._settings),
            "grad_norm": self._losses.norm,
            **speed,
            **({"loss_scale": self._scaler.get_scale()} if self._scaler.is_enabled() else {}),
        }

    def _evaluate(self, log: Log) -> dict[str, Evaluation]:
        evaluations = {}
        for split, source in self._splits.items():
            evaluations[split] = self._measure(split, source)
            log.measures(self._step, split, {**evaluations[split].means, "n": evaluations[split].n})
            if isinstance(trained := self._parallel.measured, AfterEvaluation):
                trained.after_evaluation(split, source, evaluations[split])
        return evaluations

    def _measure(self, split: str, source: Source[BatchT]) -> Evaluation:
        settings = self._settings
        if split not in self._loaders:
            self._loaders[split] = loader_of(source, seed=settings.seed, num_workers=self._workers)
        return measure(
            self._parallel.measured,
            source,
            batch_size=settings.batch_size,
            precision=settings.precision,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
            loader=self._loaders[split],
        )

    def _is_best(self, evaluations: dict[str, Evaluation]) -> bool:
        """Whether the monitored measure is a new best; records it if so."""
        means = {split: found.means for split, found in evaluations.items()}
        value = new_best(self._settings, means, self._best and self._best["value"])
        if value is not None:
            self._best = {"value": value, "step": self._step}
        return value is not None

    @property
    def _out_of_patience(self) -> bool:
        return out_of_patience(self._settings, self._step, 0 if self._best is None else self._best["step"])

    def _save(self) -> None:
        state: TrainerState = {
            "step": self._step,
            "sampler": self._sampler.state_dict(),
            "optimizer": None,
            "window": self._losses.window,
            "best": self._best,
        }
        if self._scaler.is_enabled():
            state["scaler"] = self._scaler.state_dict()
        checkpoint = self._parallel.save(self._checkpoints, state, self._extra)
        if checkpoint is None:
            return
        if self._best is not None and self._best["step"] == self._step:
            self._checkpoints.do(partial(self._checkpoints.point, "best", checkpoint))
        self._checkpoints.do(partial(self._checkpoints.prune, self._settings.keep_last))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
