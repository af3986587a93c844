"""Everything of a run but the training: data read, model built, the first batch computed, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mm_kptm.data.sampler import seed_of, seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment import coverage
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.show import ShownExample, shown_examples
from mm_kptm.train.loop import sampler_for
from mm_kptm.train.monitor import check_monitored_split, monitored
from mm_kptm.train.optim import optimizer_for
from mm_kptm.train.parallel.processes import start
from mm_kptm.train.precision import autocast
from mm_kptm.train.protocol import Source, module_of
from mm_kptm.train.settings import TrainSettings
from mm_kptm.train.step import BatchBuilder, StepPlan
from mm_kptm.train.trackers import check_trackers


@dataclass(frozen=True)
class DryRun:
    """What a run would train, and on what."""

    run: str  #: the folder that it would write
    system: str
    parameters: int
    trained_parameters: int
    steps: int
    batch_size: int  #: examples of the first step
    examples: Mapping[str, int]  #: of every evaluated split
    loss: float | None  #: of the first step, before any update; None where nothing is trained
    dev: Mapping[str, float]  #: measures of the first dev examples with the initial weights
    first: tuple[ShownExample, ...]  #: of the first batch; empty where its examples are no single texts


def dry_run(settings: Experiment, *, count: int = 3) -> DryRun:
    """Check an experiment as far as its first step, and show it.

    Args:
        settings: the experiment.
        count: examples of the first batch that are shown.

    Raises:
        UserError: whatever would stop the run before its first update.
    """
    device = start()
    check_trackers(settings.train.trackers)
    built = build(settings)
    coverage.measured_coverage(settings, built)
    model = module_of(built.model).to(device)
    dev = built.source("dev") if "dev" in built.prepared.sources else None
    check_monitored_split(settings.train, [] if dev is None else ["dev"])
    untrained = settings.train.steps == 0 and "train" not in built.prepared.sources
    examples = {} if untrained else {"train": len(built.training)}
    if not untrained:
        optimizer_for(model, settings.train)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        means = {} if dev is None else _measured(built, dev, settings.train, device)
        steps, rows, batch, loss = (0, 0, None, None) if untrained else _first_step(built, settings.train, device)
    return DryRun(
        run=str(settings.folder),
        system=settings.encoder.recipe,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        steps=steps,
        batch_size=rows,
        examples=examples | ({} if dev is None else {"dev": len(dev)}),
        loss=loss,
        dev=means,
        first=() if batch is None else _shown(settings, built, batch, count),
    )


@torch.no_grad()
def _first_step(built: Built, settings: TrainSettings, device: torch.device) -> tuple[int, int, Any, float]:
    """Number of steps; examples, first micro-batch and loss of the first step, as training computes them."""
    sampler = sampler_for(built.training, settings)
    steps = settings.in_steps(sampler.num_batches).num_steps
    plan = StepPlan(1, next(iter(sampler)))
    parts = settings.gradient_accumulation_steps
    batches = BatchBuilder(built.training, settings.seed, range(parts), parts)(plan)
    module_of(built.model).train()
    loss = 0.0
    with autocast(device, settings.precision):
        for part, batch in enumerate(batches):
            torch.manual_seed(seed_of(settings.seed, 1, part))
            loss += built.model.loss(batch.to(device)).item() * plan.weight(part, parts)
    if not torch.tensor(loss).isfinite():
        raise UserError(f"the loss of the first step is {loss}; check the data and encoder.weights")
    return steps, len(plan.indices.indices), batches[0], loss


@torch.no_grad()
def _measured(built: Built, dev: Source[Any], settings: TrainSettings, device: torch.device) -> dict[str, float]:
    """Means of every measure on the first dev examples."""
    if not len(dev):
        raise UserError("there is no example to evaluate on; a source of at least one is needed")
    batch = dev.batch(list(range(min(settings.batch_size, len(dev)))), seeded(settings.seed, 0))
    module_of(built.model).eval()
    with autocast(device, settings.precision):
        means = {name: values.mean().item() for name, values in built.model.measure(batch.to(device)).items()}
    monitored(settings, {"dev": means})
    return means


def _shown(settings: Experiment, built: Built, batch: Any, count: int) -> tuple[ShownExample, ...]:
    try:
        return shown_examples(settings, built, batch.to("cpu"))[:count]
    except UserError:  # pairs, graphs and others that are no single texts
        return ()
