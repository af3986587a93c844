"""LXMERT's pretraining objectives in one forward pass.

Shapes: B examples, P masked tokens, R' regions expanded per text, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, Movable, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.heads import ObjectScores
from mm_kptm.vision.objectives.masked_objects import DETECTED_OBJECTS, MaskedObjects, ObjectTargets, RegionMasking

#: Stands for "no answer" among the numbers of answers.
NO_ANSWER = -1
ANSWER = "answer"  #: token label: index of the answer, :data:`NO_ANSWER` where the text is no question
ANSWERS = "answers to questions about images"  #: need fulfilled by the answer vocabulary


def marked_answers(inputs: Inputs) -> Tensor | None:
    """The answer labels of the texts, [B]; None without labels."""
    text = inputs.text
    if text is None or text.token_labels is None or ANSWER not in text.token_labels:
        return None
    return text.token_labels[ANSWER][text.layout.starts(text.ids.device)]


@dataclass(frozen=True, eq=False)
class LxmertBatch(Movable):
    """Inputs with mismatched images, masked tokens and masked regions, and all labels."""

    inputs: Inputs
    matched: Tensor  #: 1 where the text is about the image, [B]
    rows: Tensor  #: masked tokens, [P]
    labels: Tensor  #: labels, [P]
    sequence_ids: Tensor  #: example of each masked token, [P]
    targets: ObjectTargets
    answers: Tensor | None = None  #: answer index, :data:`NO_ANSWER` where unknown or unused, [B]

    def __len__(self) -> int:
        return len(self.inputs)


class LxmertPretraining:
    """Masked tokens, masked objects, image-text matching and question answering from one pass over each batch.

    The sum with equal weights of Tan and Bansal (2019, section 3.1), in the form of the released code: tokens and
    regions are masked in mismatched pairs too, and the answer loss covers matched pairs only. It replaces the single
    objectives in a mixture and needs their heads; that of question-answering only with answers.
    """

    name = "joint-pretraining"
    heads: tuple[str, ...] = ("masked-tokens", "image-text-matching", "masked-objects", "question-answering")

    def __init__(
        self,
        masking: Masking,
        regions: RegionMasking | None = None,
        *,
        rate: float = 0.5,
        heads: tuple[str, ...] = heads,
        head_sizes: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.heads = heads
        self.head_sizes = dict(head_sizes or {})
        self.tokens = MaskedTokens(masking)
        self.objects = MaskedObjects(regions)
        self.matching = ImageTextMatching(rate=rate)

    def prepare(self, inputs: Inputs, generator: torch.Generator, answers: Tensor | None = None) -> LxmertBatch:
        """Swap images between texts, then mask tokens and regions.

        Args:
            inputs: texts with images; token labels :data:`ANSWER` are used as answers.
            generator: samples the swaps and the masks.
            answers: one per text, instead of the token labels.

        Raises:
            UserError: text or regions are missing, or the answers are not one per text.
        """
        if answers is not None and len(answers) != len(inputs):
            raise UserError(f"there are {len(answers)} answers to {len(inputs)} texts; give {NO_ANSWER} where none is")
        if answers is None and len(self.heads) > 3:
            answers = marked_answers(inputs)
        pairs = self.matching.prepare(inputs, generator)
        text = self.tokens.prepare(pairs.inputs, generator)
        objects = self.objects.prepare(text.inputs, generator)
        known = None if answers is None else answers.masked_fill(pairs.matched == 0, NO_ANSWER)
        return LxmertBatch(
            objects.inputs, pairs.matched, text.rows, text.labels, text.sequence_ids, objects.targets, known
        )

    def losses(self, system: System, batch: LxmertBatch) -> dict[str, Tensor]:
        """The losses of masked tokens [P], pairs [B], regions [R', 3] and, if there are answers, questions [B]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows, "regions": EVERY_ROW}))
        words = system.head("masked-tokens")(encoded.text)
        matched = system.head("image-text-matching")(encoded.pooled)
        objects = cast(ObjectScores, system.head("masked-objects"))
        losses = {
            "masked-tokens": F.cross_entropy(words, batch.labels, reduction="none"),
            "image-text-matching": F.cross_entropy(matched, batch.matched, reduction="none"),
            "masked-objects": batch.targets.losses(objects(encoded.regions), objects.widths),
        }
        if batch.answers is not None:
            asked = system.head("question-answering")(encoded.pooled)
            losses["question-answering"] = F.cross_entropy(
                asked, batch.answers, ignore_index=NO_ANSWER, reduction="none"
            )
        return losses

    def parts(self, system: System, batch: LxmertBatch) -> dict[str, Tensor]:
        """The scalars whose sum is the loss, by name; questions are averaged over those that have an answer."""
        losses = self.losses(system, batch)
        objects, attributes, features = losses["masked-objects"].unbind(1)
        parts = {
            "masked-tokens": mean(losses["masked-tokens"]),
            "image-text-matching": mean(losses["image-text-matching"]),
            "objects": mean(objects),
            "attributes": mean(attributes),
            "features": mean(features),
        }
        if batch.answers is not None:
            answered = (batch.answers != NO_ANSWER).sum()
            parts["question-answering"] = losses["question-answering"].sum() / answered.clamp(min=1)
        return parts

    def loss(self, system: System, batch: LxmertBatch) -> Tensor:
        """The sum of all parts."""
        return torch.stack(list(self.parts(system, batch).values())).sum()

    def measure(self, system: System, batch: LxmertBatch) -> Tensor:
        """The sum of the losses of each example, [B]."""
        losses = self.losses(system, batch)
        total = mean_of_each(losses["masked-tokens"], batch.sequence_ids, len(batch)) + losses["image-text-matching"]
        total = total + mean_of_each(losses["masked-objects"].sum(1), batch.targets.sequence_ids, len(batch))
        return total + losses["question-answering"] if batch.answers is not None else total


def _joint(context: ObjectiveContext) -> LxmertPretraining:
    head_sizes = {"masked-objects": context.offered(DETECTED_OBJECTS)}
    if ANSWERS in context.offers.has:
        head_sizes["question-answering"] = {"num_answers": len(context.offered(ANSWERS))}
    heads = LxmertPretraining.heads if ANSWERS in context.offers.has else LxmertPretraining.heads[:3]
    return LxmertPretraining(Masking.of(context), heads=heads, head_sizes=head_sizes)


JOINT_PRETRAINING = ObjectiveSpec(
    LxmertPretraining.name,
    "Tan and Bansal 2019, LXMERT, EMNLP, section 3.1",
    _joint,
    needs=(TEXTS, REGIONS, DETECTED_OBJECTS),
)
