"""Build the model and data of an experiment from its settings; the one module that knows all packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.datasets.protocol import (
    PRETRAINING,
    AuxiliaryObjective,
    DataRequest,
    PreparedData,
    ReadsText,
    data_name,
    find_task_dataset,
)
from mm_kptm.errors import UserError
from mm_kptm.experiment import knowledge
from mm_kptm.experiment.defaults import with_defaults
from mm_kptm.experiment.freezing import freeze, freeze_encoder
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.experiment.visual.feature_contract import check_contract
from mm_kptm.experiment.visual.frontend import add_vision, pixel_format, published_frontends
from mm_kptm.experiment.visual.pretrained_answers import PRETRAINED, known_answers, start_answers
from mm_kptm.knowledge.kinds.protocol import knowledge_kinds
from mm_kptm.objectives.mixture import Mixture, Objective
from mm_kptm.objectives.spec import (
    LANGUAGE_IDS,
    REGION_FEATURES,
    REGIONS,
    TEXTS,
    Offers,
    find_objective,
)
from mm_kptm.systems import assembly, pretrained
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import saved_task_parameters
from mm_kptm.systems.system import System
from mm_kptm.tasks.adversarial_training import AdversarialTraining
from mm_kptm.tasks.multitask import MultiTask
from mm_kptm.tasks.pretraining import ObjectiveSchedule, ObjectiveSource, OneAStep, SourcesOfObjectives, heads_of
from mm_kptm.tasks.protocol import Task, check_fit, check_vocabulary
from mm_kptm.tasks.protocol import find as find_task
from mm_kptm.tasks.transfer import transferred
from mm_kptm.train.protocol import Source, Trainable, module_of
from mm_kptm.vision.contrastive.tower_weights import start_towers, starting_text
from mm_kptm.vision.objectives.image_text_contrast import IMAGES


@dataclass(frozen=True, eq=False)
class Built:
    """Model with its training and evaluation data."""

    model: Trainable[Any]
    system: System
    prepared: PreparedData
    schedule: ObjectiveSchedule | None = None  #: of the objective of each step; None: all in every step

    @cached_property
    def sources(self) -> dict[str, Source[Any]]:
        """Splits opened so far, by name."""
        return {}

    def source(self, split: str) -> Source[Any]:
        """Open a split, cached.

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
        """Training source: the split ``train``, with corrupted inputs where objectives are trained beside the task."""
        source = self.source("train")
        if self.schedule is not None:
            if not isinstance(source, ObjectiveSource | SourcesOfObjectives):
                raise UserError(
                    "one objective a step was asked for, but these data build the batches of all in one source"
                )
            return OneAStep(source, self.schedule)
        return self._plain.training_source(source) if isinstance(self._plain, MultiTask) else source

    @property
    def task(self) -> Task[Any] | None:
        """The task; None in pure pretraining."""
        model = self._plain.task if isinstance(self._plain, MultiTask) else self._plain
        return model if isinstance(model, Task) else None

    @property
    def _plain(self) -> nn.Module:
        """The model without what perturbs its inputs in training."""
        return self.model.model if isinstance(self.model, AdversarialTraining) else module_of(self.model)

    @property
    def own(self) -> dict[str, Tensor]:
        """Task parameters that are not part of the system, such as a head that no recipe has."""
        shared = set(self.system.parameters())
        parts = () if self.task is None else self.task.named_parameters()
        return {name: value.detach() for name, value in parts if value not in shared}


def build(settings: Experiment) -> Built:
    """Build everything that the settings describe, on the CPU.

    Raises:
        UserError: a name is unknown, the system lacks an input modality of the task, a file is missing or malformed.
    """
    settings = with_defaults(settings)
    recipe, weights = find(settings.encoder.recipe), settings.weights
    if settings.task is not None:
        check_fit(find_task(settings.task), recipe)  # before any file is opened
    check_contract(settings, settings.encoder.weights)
    dataset = find_task_dataset(settings.trained, settings.data)
    request = data_request(settings)
    prepared = dataset.prepare(settings.data, request)
    if request.pixels is not None and getattr(settings.data, "images", None) is None:
        raise UserError(
            f"encoder.vision makes regions of pictures, but {settings.data.name} gives none; use data with "
            "data.images, or leave encoder.vision out"
        )
    if settings.transfer is not None:
        languages = prepared.encoding.languages if prepared.encoding is not None else ()
        prepared = replace(prepared, sources=transferred(prepared.sources, settings.transfer, languages))
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
    asked, text = settings.encoder, None
    if weights is None and recipe.published_sizes().keys() >= {"text", "vocab_size"}:  # towers of one's own
        sizes, text = starting_text(asked.sizes, asked.towers)
        settings = replace(settings, encoder=replace(asked, sizes=sizes))
    with torch.random.fork_rng(devices=[]):  # fresh weights depend only on the seed of the run
        torch.manual_seed(settings.train.seed)
        known = known_answers(replace(settings.encoder, weights=weights), recipe, prepared.heads)
        reused = {PRETRAINED: {"num_answers": len(known)}} if known else {}
        system = _system(recipe, replace(settings.encoder, weights=weights), prepared, learnt, reused)
        data_tokenizer = getattr(settings.data, "tokenizer", None)
        check_vocabulary(system, prepared.sizes.get("vocab_size"), weights, data_tokenizer)
        if text is not None:
            check_vocabulary(text, prepared.sizes.get("vocab_size"), asked.towers["text"], data_tokenizer)
        loaded = list(system.modules()) if weights is not None else []
        if settings.encoder.frozen is True:
            freeze_encoder(system, loaded=weights is not None)
        for name, sizes in settings.encoder.added.items():
            if name not in system.added:
                assembly.add(system, name, sizes)
        loaded += start_towers(system, settings.encoder.towers, text=text)
        loaded += _with_vision(system, settings.encoder, recipe)
        knowledge.apply_knowledge(system, settings.knowledge, prepared, beside=settings.encoder.added)
        if learnt is not None and learnt.objective.name not in system.heads:
            assembly.add_head(system, learnt.objective.name, learnt.sizes)
        system.data = dict(prepared.fingerprints)
        model = prepared.model(system)
        start_answers(system, model, known)
        if isinstance(settings.encoder.init_std, float):
            knowledge.reinitialise(module_of(model), loaded, settings.encoder.init_std)
            if weights is None:
                assembly.restart_followers(system, system.heads)
        if isinstance(settings.encoder.frozen, tuple):
            freeze(system, settings.encoder.frozen)
    if settings.adversarial is not None:
        model = AdversarialTraining(model, system, settings.adversarial)
    built = Built(model, system, prepared, settings.schedule)
    if settings.task is not None and weights is not None:
        _fill_own(built, saved_task_parameters(weights, settings.task))
    return built


@torch.no_grad()
def _fill_own(built: Built, saved: Mapping[str, Tensor]) -> None:
    """Load saved task parameters; with other shapes (another label set) the fresh ones stay."""
    own = built.own
    if {name: tensor.shape for name, tensor in saved.items()} == {name: tensor.shape for name, tensor in own.items()}:
        for name, tensor in saved.items():
            own[name].copy_(tensor)


def _beside(task: str, prepared: PreparedData, settings: Experiment, learnt: AuxiliaryObjective | None) -> PreparedData:
    """Multi-task data and model: the task with the requested objectives and that of facts to learn, if any."""
    weights = dict(settings.objectives)
    apart = settings.objective_data is not None
    labelled = {
        name: weight for name, weight in weights.items() if set(find_objective(name).needs) & set(prepared.labels)
    }
    own = labelled if apart else weights
    others = {name: weight for name, weight in weights.items() if name not in labelled}
    beside = _objective_data(prepared, settings, others) if apart else None
    objectives = _objectives(task, prepared, settings, own) if own else {}
    heads = {**heads_of(objectives), **({} if beside is None else beside.heads), **prepared.heads}
    if learnt is not None:
        objectives[learnt.objective.name] = learnt.objective
        weights[learnt.objective.name] = settings.knowledge.weight

    def model(system: System) -> MultiTask:
        answering = prepared.model(system)
        if not isinstance(answering, Task):
            raise TypeError(f"{task} is trained by {type(answering).__name__}, which is no task")
        if beside is None:
            return MultiTask(answering, objectives, weights)
        mixture = beside.model(system)
        if not isinstance(mixture, Mixture):
            raise TypeError(f"objectives are trained by {type(mixture).__name__}, which is no mixture of them")
        return MultiTask(
            answering,
            {**mixture.objectives, **objectives},
            weights,
            beside.sources["train"],
            settings.task_weight,
            own=labelled,
        )

    prints = {} if beside is None else {f"objectives.{name}": one for name, one in beside.fingerprints.items()}
    return replace(prepared, model=model, heads=heads, fingerprints={**prepared.fingerprints, **prints})


def _objective_data(prepared: PreparedData, settings: Experiment, weights: Mapping[str, float]) -> PreparedData:
    """The data of objectives beside a task, where they have their own.

    Raises:
        UserError: they differ from those of the task in their vocabulary or number of languages.
    """
    beside = find_task_dataset(PRETRAINING, settings.objective_data).prepare(
        settings.objective_data, replace(data_request(settings), objectives=weights)
    )
    for size, what in (("vocab_size", "pieces in the vocabulary"), ("num_languages", "languages")):
        ours, theirs = (one.sizes.get(size) for one in (prepared, beside))
        if ours is not None and theirs is not None and ours != theirs:
            raise UserError(
                f"one encoder reads the task and its objectives, but data have {ours} {what} and objective_data "
                f"{theirs}; give both the same"
            )
    return beside


def _objectives(
    task: str, prepared: PreparedData, settings: Experiment, weights: Mapping[str, float]
) -> dict[str, Objective]:
    """Objectives computed on the inputs of a task.

    Raises:
        UserError: a name is unknown, or the inputs of the task lack what an objective needs.
    """
    data = settings.data
    remedy = "pretrain in a run without a task, and let encoder.weights of a second run name what it saved"
    if not find_task(task).single_inputs or not isinstance(data, ReadsText):
        raise UserError(
            f"objectives ({', '.join(weights)}) were asked for beside {task}, whose batches hold no single "
            f"inputs to compute them on; {remedy}"
        )
    tokenizer = data.tokenizer()
    has = [TEXTS, LANGUAGE_IDS]
    if "region_dim" in prepared.sizes:
        has += [REGIONS] if settings.encoder.vision is not None else [REGIONS, REGION_FEATURES]
    if prepared.sizes.keys() & {"region_dim", "image_size"}:
        has.append(IMAGES)
    offers = Offers(f"{data_name(type(data))} of {task}", {**dict.fromkeys(has), **prepared.labels}, remedy=remedy)
    request = replace(data_request(settings), objectives=weights)
    return request.built_objectives(offers, tokenizer, getattr(data, "mask_rate", 0.15))


def _system(
    recipe: Recipe,
    asked: EncoderSettings,
    prepared: PreparedData,
    learnt: AuxiliaryObjective | None,
    reused: Mapping[str, Mapping[str, int]],
) -> System:
    """Build or load the system; sizes come from the experiment, then the data, then the published model."""
    sizes: dict[str, Any] = dict(asked.sizes)
    if asked.weights is not None:
        saved = {} if learnt is None else knowledge.held_head(learnt, asked.weights)
        heads = {**prepared.heads, **saved, **reused}
        return pretrained.load(
            recipe.name,
            asked.weights,
            heads=heads,
            frontends=published_frontends(asked.vision, recipe),
            fresh=_fresh(asked, prepared),
            **sizes,
        )
    published = recipe.published_sizes()
    by_data = {name: size for name, size in prepared.sizes.items() if name in published}
    return pretrained.build(recipe.name, heads=prepared.heads, **(by_data | sizes))


def _fresh(asked: EncoderSettings, prepared: PreparedData) -> list[str]:
    """Parameter prefixes that may be missing in a checkpoint: those of the experiment and the task heads."""
    return [*asked.fresh, *(f"heads.{head}." for head in prepared.heads)]


def _with_vision(system: System, asked: EncoderSettings, recipe: Recipe) -> list[nn.Module]:
    """Put the backbone that the settings ask for before the encoder; the modules that keep their own initialisation.

    Raises:
        UserError: the weights were saved with a backbone, but none is asked for.
    """
    if asked.vision is not None:
        add_vision(system, asked.vision, recipe)
    elif system.frontends:
        held = " and ".join(f"{name} {sizes.get('backbone', '')}" for name, sizes in system.frontend_sizes.items())
        raise UserError(
            f"{asked.weights} was trained on pictures ({held.strip()}), but encoder.vision is not set; set it to the "
            "same backbone, and give data.images"
        )
    return list(system.frontends.modules())


def data_request(settings: Experiment) -> DataRequest:
    """What an experiment asks of its data.

    Raises:
        UserError: there is no such recipe, or it reads no pictures where a backbone for them is asked for.
    """
    recipe, knowledge, asked = find(settings.encoder.recipe), settings.knowledge, settings.encoder.vision
    return DataRequest(
        recipe,
        knowledge.way,
        knowledge.given,
        settings.objectives,
        knowledge.vectors,
        settings.objective_arguments,
        None if asked is None else pixel_format(asked, recipe),
        knowledge.visible_matrix,
    )


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
