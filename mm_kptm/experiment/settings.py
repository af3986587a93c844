"""What an experiment file says: the task, the data, the encoder, the knowledge, the objectives and the training."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mm_kptm.errors import UserError
from mm_kptm.train.settings import TrainSettings


@dataclass(frozen=True)
class NumberWorldData:
    """Number World, the embedded benchmark: handwritten numbers, five languages, facts; nothing is downloaded."""

    name: Literal["number-world"] = "number-world"
    split: str = "iid"  #: which generalisation is asked for
    questions: int = 20000  #: training questions
    numbers: int = 30  #: the scenes show 0 up to this number, at most 100
    languages: tuple[str, ...] = ("en", "de", "fr", "es", "zh")
    worlds: int = 64  #: worlds with facts of their own to train on; 1 is one fixed graph
    seed: int = 0  #: same seed, same bytes


@dataclass(frozen=True)
class VqaV2Data:
    """VQA v2's own question and annotation files, with region features of yours."""

    name: Literal["vqa-v2"]
    questions: Path  #: a file such as v2_OpenEnded_mscoco_train2014_questions.json
    annotations: Path  #: a file such as v2_mscoco_train2014_annotations.json
    features: Path  #: region features of the images
    dev_questions: Path | None = None  #: questions to evaluate on
    dev_annotations: Path | None = None  #: annotations to evaluate with


@dataclass(frozen=True)
class EncoderSettings:
    """Which published system reads the input."""

    recipe: str  #: from `mm-kptm list systems`
    sizes: dict[str, int | float | bool | str] = field(default_factory=dict)  #: in place of the published ones
    weights: Path | None = None  #: an official checkpoint or a saved folder; fresh weights when null


@dataclass(frozen=True)
class KnowledgeSettings:
    """Whether facts are given to the encoder, how, and which."""

    kind: Literal["none", "tree"] = "none"  #: tree hangs facts into the sentence as K-BERT does
    facts: Literal["none", "true", "random", "swapped", "oracle"] = "true"  #: the true ones or a control


@dataclass(frozen=True)
class Experiment:
    """One run: what is trained, on what, and how."""

    name: str  #: names the run folder inside `out`
    encoder: EncoderSettings
    data: NumberWorldData | VqaV2Data
    task: str | None = None  #: from `mm-kptm list tasks`; null for pretraining alone
    knowledge: KnowledgeSettings = KnowledgeSettings()
    objectives: dict[str, float] = field(default_factory=dict)  #: pretraining objectives and their weights
    train: TrainSettings = field(default_factory=TrainSettings)
    out: Path = Path("runs")  #: where run folders are made

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise UserError(f"name is {self.name!r} but names a folder: letters, digits, dots and dashes")
        if self.task is None and not self.objectives:
            raise UserError("there is nothing to train: give a task, or objectives with their weights")
        for objective, weight in self.objectives.items():
            if not weight > 0:
                raise UserError(f"objectives.{objective} has the weight {weight} but must be greater than 0")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / self.name
