"""Zero-shot classification: a picture belongs to the class whose name, in a few sentences, is nearest to it.

Shapes: B pictures, C classes, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row, prediction
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.two_towers.frozen_towers import FrozenTowers, PictureBatch

PLACE = "{}"  #: where a prompt has the name of the class
TOP = 5


@dataclass(frozen=True)
class ClassNames:
    """Names of classes in one language, and the prompts that they are put into.

    Args:
        language: its code.
        names: of every class, by label; several are averaged.
        prompts: sentences with :data:`PLACE`; their vectors are averaged (Radford et al. 2021, section 3.1.4).

    Raises:
        UserError: there are fewer than two classes, one without a name, or a prompt without a place for it.
    """

    language: str
    names: Mapping[str, tuple[str, ...]]
    prompts: tuple[str, ...] = (PLACE,)

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise UserError(
                f"the list of classes ({self.language}) has {len(self.names)} of them; there must be two at least to "
                "choose from"
            )
        if nameless := [label for label, names in self.names.items() if not any(name.strip() for name in names)]:
            raise UserError(f"the class {nameless[0]!r} has no name ({self.language})")
        if not self.prompts or (wrong := [prompt for prompt in self.prompts if PLACE not in prompt]):
            shown = repr(wrong[0]) if self.prompts else "an empty list"
            raise UserError(f"prompts have {PLACE} where the name of a class stands, but there is {shown}")

    def sentences(self, label: str) -> list[str]:
        """Every prompt with every name of a class."""
        return [prompt.replace(PLACE, name) for name in self.names[label] for prompt in self.prompts]


class ZeroShotClassification(FrozenTowers[PictureBatch]):
    """Classes by their names, in one language or several; a row for every picture and language.

    Args:
        system: two towers.
        classes: in each language, the same labels.
    """

    name = "zero-shot-classification"

    def __init__(self, system: System, classes: Sequence[ClassNames]) -> None:
        super().__init__(system)
        if not classes:
            raise UserError("no list of classes was given; name one as data.classes")
        self.classes = {one.language: one for one in classes}

    @torch.no_grad()
    def class_vectors(self, language: str) -> Tensor:
        """The mean of the normalised vectors of the sentences of each class, normalised again, [C, D]."""
        classes = self.classes[language]
        sentences = [classes.sentences(label) for label in classes.names]
        vectors = self._encode([sentence for some in sentences for sentence in some], language)
        means = [part.mean(dim=0) for part in vectors.split([len(some) for some in sentences])]
        return finite_scores(F.normalize(torch.stack(means), dim=-1), "classes")

    @torch.no_grad()
    def predict(self, batch: PictureBatch) -> list[Row]:
        """The nearest class of every picture, in the language of its row, with the rank of the right one."""
        images = self.system.encode_images(batch.pictures).float().cpu()
        vectors = {language: self.class_vectors(language) for language in {one.language for one in batch.about}}
        rows = []
        for image, about in zip(images, batch.about, strict=True):
            labels = list(self.classes[about.language].names)
            scores = vectors[about.language] @ image
            answer = labels[int(scores.argmax())]
            if about.target not in labels:
                rows.append(prediction(about, answer, correct=0.0, rank=len(labels)))
                continue
            right = labels.index(about.target)
            others = torch.arange(len(labels)) != right
            rank = 1 + int((scores[others] >= scores[right]).sum())  # of equal scores the wrong one stands before
            rows.append(prediction(about, answer, correct=float(rank == 1), rank=rank))
        return rows

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy among the first five, and the mean over classes of the accuracy in each."""
        by_class: dict[str, list[float]] = {}
        for row in rows:
            by_class.setdefault(str(row["target"]), []).append(float(row["correct"]))
        means = [sum(correct) / len(correct) for correct in by_class.values()]
        top = sum(float(row["rank"]) <= TOP for row in rows) / len(rows)
        return {f"top-{TOP}-accuracy": top, "mean-per-class-accuracy": sum(means) / len(means)}

    def _encode(self, sentences: Sequence[str], language: str) -> Tensor:
        spoken: dict[str, Any] = {}
        if self.system.has_tokenizer and self.system.tokenizer.languages:
            spoken = {"languages": [language] * len(sentences)}
        return self.system.encode_text(sentences, **spoken).float().cpu()
