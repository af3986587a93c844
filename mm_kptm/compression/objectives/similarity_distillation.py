"""Similarity distillation: two towers learn which texts of a batch are near each other from a teacher of texts.

Shapes: B pairs, N texts of training, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.compression.text_teacher import TextTeacher
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.two_queues import queries, two_towers
from mm_kptm.vision.objectives.image_text_contrast import IMAGES

WRITTEN_TEXTS = "texts as they are written"


class SimilarityDistillation:
    r"""The affinities of a teacher among the texts of a batch are those of the towers (Wu et al. 2023, section 3.1).

    For every text :math:`i`, :math:`p_{ij} \propto \exp(t_i \cdot t_j / \tau)` over the other texts of the batch, with
    the teacher's vectors :math:`t`. The towers answer with the same temperature, three times: text against text, image
    against text and text against image; the loss is the mean of the three Kullback-Leibler divergences from
    :math:`p`. A text's own place is left out, for the contrast of the task says that already.

    The teacher reads every text of training once, before the first step; nothing of it is saved. Inputs say by the
    label ``similarity-distillation`` which of the written texts theirs are.

    Args:
        texts: the texts of training, read when the first batch comes.
        teacher: what is learnt from.
        temperature: tau.
    """

    name = "similarity-distillation"
    heads: tuple[str, ...] = ()

    def __init__(self, texts: Callable[[], Sequence[str]], teacher: TextTeacher, *, temperature: float = 0.1) -> None:
        if not temperature > 0:
            raise UserError(f"{self.name}.temperature is {temperature} but must be greater than 0")
        self.texts = texts
        self.teacher = teacher
        self.temperature = temperature
        self._vectors: Tensor | None = None

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """The pairs as they are; nothing is drawn.

        Raises:
            UserError: they do not say which texts theirs are.
        """
        if self.name not in inputs.labels:
            raise UserError(f"{self.name} needs {WRITTEN_TEXTS}, which these inputs do not name")
        return inputs

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over pairs."""
        return self.measure(system, batch).mean()

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The loss of every pair among those of this process, [B]."""
        images, texts = queries(two_towers(system), batch)
        taught = self._vectors_of(batch.labels[self.name])
        target = self._near(taught, taught)
        answers = ((texts, texts), (images, texts), (texts, images))
        losses = [F.kl_div(self._near(*pair), target, reduction="none", log_target=True) for pair in answers]
        return torch.stack(losses).sum(-1).mean(0)

    def _near(self, one: Tensor, other: Tensor) -> Tensor:
        """Log probabilities of the others of the batch for each, [B, B - 1]."""
        count = len(one)
        scores = one.float() @ other.float().T / self.temperature
        others = ~torch.eye(count, dtype=torch.bool, device=scores.device)
        return scores[others].view(count, count - 1).log_softmax(-1)

    def _vectors_of(self, numbers: Tensor) -> Tensor:
        """The teacher's vectors of texts by their numbers, [B, D]."""
        if self._vectors is None:
            self._vectors = self.teacher.vectors(self.texts(), device=numbers.device)
        return self._vectors[numbers]


def _build(context: ObjectiveContext) -> SimilarityDistillation:
    given = dict(context.arguments)
    weights = str(given.pop("teacher", ""))
    if not weights:
        raise UserError(
            f"{SimilarityDistillation.name} learns from a teacher; name its weights in "
            f"objective_arguments.{SimilarityDistillation.name}.teacher"
        )
    teacher = TextTeacher(weights, str(given.pop("recipe", "")), str(given.pop("prefix", "")))
    return SimilarityDistillation(context.offered(WRITTEN_TEXTS), teacher, **given)


SIMILARITY_DISTILLATION = ObjectiveSpec(
    SimilarityDistillation.name,
    "Wu et al. 2023, TinyCLIP: CLIP Distillation via Affinity Mimicking and Weight Inheritance, ICCV, section 3.1",
    _build,
    needs=(TEXTS, IMAGES, WRITTEN_TEXTS),
    arguments=("teacher", "recipe", "prefix", "temperature"),
)
