"""From an experiment's settings to a model and its data: the one place that knows all wings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.datasets.protocol import (
    AuxiliaryObjective,
    DataRequest,
    PreparedData,
    ReadsText,
    data_name,
    find_task_dataset,
)
from mm_kptm.errors import UserError
from mm_kptm.experiment import knowledge
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.knowledge.kinds.protocol import knowledge_kinds
from mm_kptm.objectives.continual import ContinualSchedule
from mm_kptm.objectives.mixture import Objective
from mm_kptm.objectives.spec import LANGUAGE_IDS, REGIONS, TEXTS, ObjectiveContext, Offers, build_objectives
from mm_kptm.systems import assembly, pretrained
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import saved_task_parameters
from mm_kptm.systems.system import System
from mm_kptm.tasks.multitask import MultiTask
from mm_kptm.tasks.pretraining import ObjectiveSource, SourcesOfObjectives, Staged, heads_of
from mm_kptm.tasks.protocol import Task, check_fit, check_vocabulary
from mm_kptm.tasks.protocol import find as find_task
from mm_kptm.train.protocol import Source, Trainable, module_of


@dataclass(frozen=True, eq=False)
class Built:
    """A model with the data it is trained and measured on."""

    model: Trainable[Any]
    system: System
    prepared: PreparedData
    schedule: ContinualSchedule | None = None  #: which objective is trained when, where they arrive in stages

    @cached_property
    def sources(self) -> dict[str, Source[Any]]:
        """The splits opened so far."""
        return {}

    def source(self, split: str) -> Source[Any]:
        """One split, opened once.

        Raises:
            UserError: these data have no such split.
        """
        if split not in self.prepared.sources:
            raise UserError(f"these data have no split {split!r}; there are {', '.join(self.prepared.sources)}")
        if split not in self.sources:
            self.sources[split] = self.prepared.sources[split]()
        return self.sources[split]

    @property
    def training(self) -> Source[Any]:
        """What the model is trained on: the split ``train``, with puzzles where objectives stand beside the task."""
        source = self.source("train")
        if self.schedule is not None:
            if not isinstance(source, ObjectiveSource | SourcesOfObjectives):
                raise UserError("stages were asked for, but these data make the puzzles of all objectives in one")
            return Staged(source, self.schedule)
        return self.model.training_source(source) if isinstance(self.model, MultiTask) else source

    @property
    def task(self) -> Task[Any] | None:
        """What answers; None where objectives alone are trained."""
        model = self.model.task if isinstance(self.model, MultiTask) else self.model
        return model if isinstance(model, Task) else None

    @property
    def own(self) -> dict[str, Tensor]:
        """The parameters that the task has beside the system, such as a head that no recipe has."""
        shared = set(self.system.parameters())
        parts = () if self.task is None else self.task.named_parameters()
        return {name: value.detach() for name, value in parts if value not in shared}


def build(settings: Experiment) -> Built:
    """Everything that the settings describe, on the CPU.

    Raises:
        UserError: a name is unknown, the system cannot read what the task shows, a file is missing or malformed.
    """
    recipe = find(settings.encoder.recipe)
    if settings.task is not None:
        check_fit(find_task(settings.task), recipe)  # before any file is opened
    supply = find_task_dataset(settings.trained, settings.data)
    prepared = supply.prepare(settings.data, _request(recipe, settings))
    way = settings.knowledge.way
    if way is not None and settings.knowledge.given != "none" and way.form not in prepared.knowledge_forms:
        able = [name for name, other in knowledge_kinds().items() if other.form in prepared.knowledge_forms]
        raise UserError(
            f"knowledge.kind is {way.name}, but the {settings.trained} of these data cannot give facts in that form; "
            f"they can in {', '.join(able) or 'none'}"
        )
    learnt = prepared.auxiliary() if prepared.auxiliary is not None and settings.knowledge.given != "none" else None
    if settings.task is not None and (settings.objectives or learnt is not None):
        prepared = _beside(settings.task, prepared, settings, learnt)
    with torch.random.fork_rng(devices=[]):  # every fresh weight follows from the seed of the run
        torch.manual_seed(settings.train.seed)
        system = _system(recipe, settings.encoder, prepared, learnt)
        check_vocabulary(system, prepared.sizes.get("vocab_size"), loaded=settings.encoder.weights is not None)
        loaded = list(system.modules()) if settings.encoder.weights is not None else []
        knowledge.apply_knowledge(system, settings.knowledge, prepared)
        if learnt is not None and learnt.objective.name not in system.heads:
            assembly.add_head(system, learnt.objective.name, learnt.sizes)
        system.data = dict(prepared.fingerprints)
        model = prepared.model(system)
        if settings.encoder.init_std is not None:
            knowledge.reinitialise(module_of(model), loaded, settings.encoder.init_std)
    built = Built(model, system, prepared, settings.schedule)
    if settings.task is not None and settings.encoder.weights is not None:
        _fill_own(built, saved_task_parameters(settings.encoder.weights, settings.task))
    return built


@torch.no_grad()
def _fill_own(built: Built, kept: Mapping[str, Tensor]) -> None:
    """Go on with the parts that the same task left in a folder; where they are for other labels, they stay fresh."""
    own = built.own
    if {name: tensor.shape for name, tensor in kept.items()} == {name: tensor.shape for name, tensor in own.items()}:
        for name, tensor in kept.items():
            own[name].copy_(tensor)


def _beside(task: str, prepared: PreparedData, settings: Experiment, learnt: AuxiliaryObjective | None) -> PreparedData:
    """A task with objectives beside it: those asked for, and that of facts to be learnt."""
    weights = dict(settings.objectives)
    objectives = _objectives(task, prepared, settings) if weights else {}
    heads = {**heads_of(objectives), **prepared.heads}
    if learnt is not None:
        objectives[learnt.objective.name] = learnt.objective
        weights[learnt.objective.name] = settings.knowledge.weight

    def model(system: System) -> MultiTask:
        answering = prepared.model(system)
        if not isinstance(answering, Task):
            raise TypeError(f"{task} is trained by {type(answering).__name__}, which is no task")
        return MultiTask(answering, objectives, weights)

    return replace(prepared, model=model, heads=heads)


def _objectives(task: str, prepared: PreparedData, settings: Experiment) -> dict[str, Objective]:
    """The objectives that are computed on the inputs of a task.

    Raises:
        UserError: a name is unknown, or the texts of the task lack what an objective needs.
    """
    data = settings.data
    remedy = "pretrain in a run without a task, and let encoder.weights of a second run name what it saved"
    if not find_task(task).single_inputs or not isinstance(data, ReadsText):
        raise UserError(
            f"objectives ({', '.join(settings.objectives)}) were asked for beside {task}, whose batches hold no single "
            f"inputs to compute them on; {remedy}"
        )
    tokenizer = data.tokenizer()
    has = (TEXTS, LANGUAGE_IDS, REGIONS) if "region_dim" in prepared.sizes else (TEXTS, LANGUAGE_IDS)
    offers = Offers(f"{data_name(type(data))} of {task}", dict.fromkeys(has), remedy=remedy)
    rate = getattr(data, "mask_rate", 0.15)
    context = ObjectiveContext(tokenizer.specials, len(tokenizer), offers, rate, find(settings.encoder.recipe))
    return build_objectives(settings.objectives, context)


def _system(
    recipe: Recipe, asked: EncoderSettings, prepared: PreparedData, learnt: AuxiliaryObjective | None
) -> System:
    """The encoder, sized by the experiment first, then by the data, then as published."""
    sizes: dict[str, Any] = dict(asked.sizes)
    if asked.weights is not None:
        kept = {} if learnt is None else knowledge.held_head(learnt, asked.weights)
        heads = {**prepared.heads, **kept}
        return pretrained.load(recipe.name, asked.weights, heads=heads, fresh=_fresh(asked, prepared), **sizes)
    published = recipe.published_sizes()
    by_data = {name: size for name, size in prepared.sizes.items() if name in published}
    return pretrained.build(recipe.name, heads=prepared.heads, **(by_data | sizes))


def _fresh(asked: EncoderSettings, prepared: PreparedData) -> list[str]:
    """What may stay fresh: what the experiment names, and the heads of the task, which few checkpoints hold."""
    return [*asked.fresh, *(f"heads.{head}." for head in prepared.heads)]


def _request(recipe: Recipe, settings: Experiment) -> DataRequest:
    knowledge = settings.knowledge
    return DataRequest(recipe, knowledge.way, knowledge.given, settings.objectives, knowledge.vectors)


def parameter_count(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
