"""Settings of an experiment: task, data, encoder, knowledge, objectives and training."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field

from mm_kptm.datasets.protocol import PRETRAINING, datasets
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import BRANCHES, KnowledgeKind, find_kind, knowledge_kinds
from mm_kptm.objectives.continual import ContinualSchedule
from mm_kptm.objectives.drawn import DrawnObjectives
from mm_kptm.tasks.adversarial_training import AdversarialSettings
from mm_kptm.tasks.transfer import TransferSettings
from mm_kptm.train.settings import TrainSettings

if TYPE_CHECKING:
    Data = Any
    Kind: TypeAlias = str
else:  # all registered datasets and kinds of knowledge injection, plug-ins included
    Data = Annotated[Union[datasets()], Field(discriminator="name")]  # noqa: UP007
    Kind = Literal[("none", *knowledge_kinds())]


Scalar = bool | int | float | str
#: A list holds one size per layer or stage; a dict the sizes of a part, or of parts by name.
Size = int | float | bool | str | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class VisionSettings:
    """Backbone that turns the pictures of `data.images` into regions, inside the model."""

    backbone: str = "resnet50"  #: any model of timm, patches of raw pixels (ViLT), or caffe-resnet50 (101, 152)
    weights: Path | None = None  #: a file of timm or torchvision; fresh weights when null or none
    regions: Literal["cells", "boxes"] = "cells"
    """What becomes a region: each cell of the backbone's map, or each box of `data.boxes` (Fast R-CNN as in VL-BERT,
    with a caffe-resnet)."""
    trainable: bool = True  #: whether it is trained, its BatchNorm statistics included
    freeze_batch_norm: bool = False  #: whether BatchNorm keeps the statistics of `weights` all the same
    size: int | None = None  #: side of the pictures in pixels, or their short side; as published when null
    longest: int | None = None  #: longest side of pictures that keep their shape; squares when null, 1000 for boxes
    patch: int = 32  #: side of a patch of `patches`, in pixels
    kernel: int | None = None  #: side of the convolution to the encoder's width; that of the system when null
    pool: int | None = None  #: cells max-pooled into one, along each side; that of the system when null

    @property
    def file(self) -> Path | None:
        """The file of its weights; None for fresh ones."""
        return None if self.weights is None or str(self.weights) == "none" else self.weights


@dataclass(frozen=True)
class EncoderSettings:
    """Encoder: the published system and its initial weights."""

    recipe: str  #: from `mm-kptm list systems`
    sizes: dict[str, Size] = field(default_factory=dict)
    """In place of the published ones; of knowledge bases by name, such as {bases: {wiki: {num_entities: 9}}}."""
    weights: Path | None = None
    """An official checkpoint, a saved folder or package:NAME; {seed} in it stands for train.seed; fresh when null."""
    known_answers: Path | None = None
    """Answers of the head question-answering in `weights` as JSON or lines, all_ans.json for LXMERT's published file;
    the same answers of a task start from their rows. Weights pretrained here know their own."""
    towers: dict[str, Path] = field(default_factory=dict)
    """Weights that towers start from, {image: FILE, text: RUN}; a run, a saved folder, published weights, a package."""
    added: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parts put around the encoder, by name with their sizes, such as {side-adapter: {sets: [facts], ...}}."""
    fresh: tuple[str, ...] = ()  #: parameter name prefixes that may be missing in `weights`
    vision: VisionSettings | None = None  #: what makes regions of pictures; null where the data have region features
    frozen: bool | tuple[str, ...] = False
    """Whether the encoder stays as `weights` has it, so that heads and added parts alone learn; or patterns of names of
    parameters that are not trained, such as encoder.source.*, as `mm-kptm show` lists them."""
    init_std: float | Literal["auto"] | None = "auto"
    """Standard deviation of all fresh weights; null: that of the recipe, auto: 1/sqrt(dim) for a small encoder."""


@dataclass(frozen=True)
class KnowledgeSettings:
    """Knowledge injection: its kind, and which facts."""

    kind: Kind = "none"  #: injected with every example (K-BERT, ERNIE, KnowBERT), or learnt (K-Adapter, KEPLER)
    facts: Literal["none", "true", "random", "swapped", "oracle"] = "true"  #: true or control facts
    weight: float = 1.0  #: of the fact-learning loss beside the task (adapter, embedding)
    vectors: Path | None = None  #: entity vectors for fusion: a folder of `mm-kptm kg train`, ERNIE's or KEPLER's files
    trainable: bool = False  #: whether these vectors are fine-tuned
    visible_matrix: bool = True
    """Whether a fact of a sentence tree is seen by its name alone, as in K-BERT; false: by the whole text, at the same
    soft positions, which is K-BERT's ablation."""

    def __post_init__(self) -> None:
        way = self.way
        if self.vectors is not None and way is not None and way.vector_table is None:
            raise UserError(f"vectors is {self.vectors}, but knowledge of kind {self.kind} reads none; leave it null")
        if way is not None and self.facts not in way.facts:
            raise UserError(
                f"facts is {self.facts}, but facts of kind {self.kind} are learnt before a question is asked and can "
                f"only be one of {', '.join(way.facts)}; how a model answers when it is given others is the split "
                f"test-{self.facts}"
            )
        if self.trainable and self.vectors is None:
            raise UserError("trainable is true, but there are no vectors; name a folder of them")
        if not self.visible_matrix and (way is None or way.form != BRANCHES):
            raise UserError(
                f"visible_matrix is false, but knowledge of kind {self.kind} hangs no facts from names; leave it true, "
                "or choose the kind sentence-tree"
            )
        if not self.weight > 0:
            raise UserError(f"knowledge.weight is {self.weight} but must be greater than 0")

    @property
    def way(self) -> KnowledgeKind | None:
        """Kind of knowledge injection; None without knowledge."""
        return None if self.kind == "none" else find_kind(self.kind)

    @property
    def given(self) -> str:
        """Which facts are injected: ``none`` without knowledge, else ``facts``."""
        return "none" if self.kind == "none" else self.facts


@dataclass(frozen=True)
class Experiment:
    """Settings of one run."""

    name: str  #: name of the run folder inside `out`
    encoder: EncoderSettings
    data: Data
    task: str | None = None  #: from `mm-kptm list tasks`; null for pretraining alone
    knowledge: KnowledgeSettings = KnowledgeSettings()
    objectives: dict[str, float] = field(default_factory=dict)  #: loss weights by objective; alone or beside a task
    objective_arguments: dict[str, dict[str, int | float | bool | str]] = field(
        default_factory=dict
    )  #: of some objectives, in place of the published ones, such as {xlco: {queue_size: 512}}
    transfer: TransferSettings | None = None  #: languages that the task is learnt in; all of data.train when null
    task_weight: float = (
        1.0  #: of the task's loss beside objectives with `objective_data`; 0: the task is only measured
    )
    objective_data: Data | None = None
    """Data of the objectives beside a task, in place of its own inputs, such as sentences with their translations."""
    stages: dict[str, tuple[int, ...]] = field(
        default_factory=dict
    )  #: steps of each objective in every stage (continual pretraining, ERNIE 2.0)
    objectives_per_step: Literal["all", "one"] = "all"
    """all: the weighted sum of the losses of all objectives; one: a step trains one of them, drawn by the weights, as
    UNITER does."""
    adversarial: AdversarialSettings | None = None  #: perturb the inputs while training (VILLA); null for none
    factors: dict[str, bool] = field(default_factory=dict)
    """Levels of the factors that a comparison crosses, such as {graph: true, picture: false}: it prints their effects
    and interactions."""
    train: TrainSettings = field(default_factory=TrainSettings)
    out: Path = Path("runs")  #: parent of the run folders
    sweep: dict[str, str | tuple[Scalar, ...]] = field(default_factory=dict)
    """What `mm-kptm sweep` searches, such as {train.lr: log:1e-5:1e-3, train.batch_size: [16, 32]}."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise UserError(f"name is {self.name!r} but names a folder: letters, digits, dots and dashes")
        if self.task is None and not self.objectives:
            raise UserError("there is nothing to train: give a task, or objectives with their weights")
        for objective, weight in self.objectives.items():
            if not weight > 0:
                raise UserError(f"objectives.{objective} has the weight {weight} but must be greater than 0")
        if self.objective_data is not None and (self.task is None or not self.objectives):
            raise UserError(
                "objective_data are the data of objectives beside a task; give both, or name the data of objectives "
                "alone under data"
            )
        if self.task_weight < 0 or (self.task_weight != 1 and self.objective_data is None):
            raise UserError(
                f"task_weight is {self.task_weight}, but must be 0 or more, and another than 1 only with objective_data"
            )
        if self.transfer is not None and self.task is None:
            raise UserError("transfer is of a task, but there is none; leave it out where objectives are trained alone")
        if self.objectives_per_step not in ("all", "one"):
            raise UserError(f"objectives_per_step is {self.objectives_per_step!r} but must be one of all, one")
        if self.objectives_per_step == "one" and (self.task is not None or self.stages):
            instead = f"the task {self.task} is trained beside them" if self.task is not None else "stages say which"
            raise UserError(f"objectives_per_step is one, but {instead}; leave it at all")
        if self.stages:
            self._check_stages()

    def _check_stages(self) -> None:
        if self.task is not None:
            raise UserError(f"stages are of objectives alone, but the task {self.task} is trained beside them")
        if self.stages.keys() != self.objectives.keys():
            staged, named = (", ".join(sorted(names)) for names in (self.stages, self.objectives))
            raise UserError(f"stages are of {staged}, but objectives are {named}; give every objective its steps")
        if self.train.epochs is not None:
            raise UserError(f"stages count steps, but train.epochs is {self.train.epochs}; set train.steps instead")
        if (steps := ContinualSchedule(self.stages).steps) != self.train.steps:
            raise UserError(f"stages have {steps} steps in all, but train.steps is {self.train.steps}; make them equal")

    @property
    def schedule(self) -> ContinualSchedule | DrawnObjectives | None:
        """Objective of each step, by stages or drawn; None where all are trained in every step."""
        if self.objectives_per_step == "one":
            return DrawnObjectives(self.objectives, self.train.seed)
        return ContinualSchedule(self.stages) if self.stages else None

    @property
    def trained(self) -> str:
        """Name of the task, or that of pretraining."""
        return PRETRAINING if self.task is None else self.task

    @property
    def weights(self) -> Path | None:
        """The checkpoint to begin with, that of this seed where its path has one."""
        path = self.encoder.weights
        return None if path is None else Path(str(path).replace("{seed}", str(self.train.seed)))

    @property
    def folder(self) -> Path:
        """Run folder."""
        return self.out / self.name
