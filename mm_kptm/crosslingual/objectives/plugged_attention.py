"""VECO's CA-MLM: masked tokens predicted with and without cross-attention to the translation.

Shapes: P masked rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Inputs, Movable
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import TokenMasker
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class MaskedTranslations(Movable):
    """A text and its translation, both with masked tokens, and their labels."""

    inputs: Inputs
    rows: tuple[Tensor, Tensor]  #: masked rows of either, each [P]
    labels: tuple[Tensor, Tensor]  #: each [P]

    def __len__(self) -> int:
        return len(self.inputs)


class BothReadings(Protocol):
    """States of a text and of its translation, [T, D] and [U, D]."""

    @property
    def alone(self) -> tuple[Tensor, Tensor]:
        """States without cross-attention."""

    @property
    def plugged(self) -> tuple[Tensor, Tensor]:
        """States with cross-attention to the other text."""


class PluggedEncoder(Protocol):
    """Encoder with optional cross-attention."""

    def both(self, inputs: Inputs) -> BothReadings:
        """All four final states of a text and its translation."""


class PluggedAttention:
    """Masked tokens of both sides, each with and without cross-attention (Luo et al. 2021, section 2.2).

    The text of the inputs and its translation, the target. The loss is the sum of the means of the four.

    Args:
        masking: masks tokens of either side.
    """

    name = "ca-mlm"
    head = "masked-tokens"

    def __init__(self, masking: TokenMasker) -> None:
        self.masking = masking

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedTranslations:
        """Mask tokens of both sides.

        Raises:
            UserError: there is no text or no target.
        """
        if inputs.text is None or inputs.target is None:
            raise UserError("ca-mlm reads a text and its translation, so the inputs need a text and a target")
        text, rows = self.masking.mask(inputs.text, generator)
        target, others = self.masking.mask(inputs.target, generator)
        labels = inputs.text.ids[rows], inputs.target.ids[others]
        return MaskedTranslations(inputs.with_streams(text=text, target=target), (rows, others), labels)

    def losses(self, system: System, batch: MaskedTranslations) -> dict[str, Tensor]:
        """Cross-entropies of masked tokens, each [P]: of ``x``, ``x_given_y``, ``y`` and ``y_given_x``."""
        states = cast(PluggedEncoder, system.encoder).both(batch.inputs)
        score = system.head("masked-tokens")
        found = {}
        for number, side in enumerate(("x", "y")):
            other = "y" if side == "x" else "x"
            for name, rows in ((side, states.alone[number]), (f"{side}_given_{other}", states.plugged[number])):
                scores = score(rows[batch.rows[number]])
                found[name] = F.cross_entropy(scores, batch.labels[number], reduction="none")
        return found

    def loss(self, system: System, batch: MaskedTranslations) -> Tensor:
        """The sum of the four means."""
        return torch.stack([mean(losses) for losses in self.losses(system, batch).values()]).sum()

    def measure(self, system: System, batch: MaskedTranslations) -> Tensor:
        """The sum of the four means of each pair, [B]."""
        sides = batch.inputs.text, batch.inputs.target
        sequence_ids = [
            side.layout.sequence_ids(rows.device)[rows]
            for side, rows in zip(sides, batch.rows, strict=True)
            if side is not None
        ]
        each = self.losses(system, batch).items()
        return torch.stack(
            [mean_of_each(losses, sequence_ids[name.startswith("y")], len(batch)) for name, losses in each]
        ).sum(0)


def _from_context(context: ObjectiveContext) -> PluggedAttention:
    return PluggedAttention(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


CA_MLM = ObjectiveSpec(
    PluggedAttention.name,
    "Luo et al. 2021, VECO: Variable and Flexible Cross-lingual Pre-training for Language Understanding and "
    "Generation, ACL, section 2.2",
    _from_context,
    needs=(TARGETS,),
)
