"""Region grounding beside a task: the state of every region also says whether the text means what it shows.

Shapes: B texts, R regions expanded per text, N regions of the image that has most of them, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, Movable, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.init import bert_init
from mm_kptm.objectives.rows import mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System

PAPER = "Trott et al. 2018, Interpretable Counting for Visual Question Answering, ICLR, arXiv:1712.08697"
MEANT_REGIONS = "which regions each text means"


@dataclass(frozen=True, eq=False)
class MeantRegions(Movable):
    """Texts and images as they are, with the regions that each text means."""

    inputs: Inputs
    meant: Tensor  #: 1 where the text means the region, 0 where not, -1 where that is not known, [R]
    layout: SequenceLayout  #: of the regions of each text

    def __len__(self) -> int:
        return len(self.inputs)


class RegionGrounding:
    """Binary cross-entropy of every region with whether the text means it, with a head on the states of regions.

    A loss on answers rewards a count once most of what is counted is found, so that encoders which know no name yet
    learn little from it; this one rewards every region by itself. It says what a question is about and nothing of
    answers. Labels are those of this name in ``Inputs.labels``, a row per text with the regions of
    its image in their order and -1 behind them, [B, N]. Beside a task that shows what it encodes it costs no pass.
    """

    name = "region-grounding"
    streams: ClassVar[tuple[str, ...]] = ("regions",)

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> MeantRegions:
        """The inputs as they are; nothing is drawn.

        Raises:
            UserError: the inputs have no such labels, or fewer of them than regions.
        """
        if self.name not in inputs.labels:
            raise UserError(f"{self.name} predicts {MEANT_REGIONS}, which these inputs do not say")
        labels, (layout, _) = inputs.labels[self.name], inputs.repeat_shared()
        if labels.ndim != 2 or labels.shape[1] < max(layout.lengths, default=0):
            raise UserError(
                f"{self.name} takes a label for every region of a text, [texts, regions], but they are "
                f"{list(labels.shape)} for up to {max(layout.lengths, default=0)} regions"
            )
        device = labels.device
        return MeantRegions(inputs, labels[layout.sequence_ids(device), layout.offsets_in_sequence(device)], layout)

    def encoded_loss(self, system: System, batch: MeantRegions, encoded: Encoded) -> Tensor:
        """The mean over regions with a label, from the states of all regions; 0 without any."""
        known = batch.meant >= 0  # not as an index: how many they are would be read off the device
        return (self._losses(system, batch, encoded) * known).sum() / known.sum().clamp(min=1)

    def loss(self, system: System, batch: MeantRegions) -> Tensor:
        """As :meth:`encoded_loss`, with a pass of its own."""
        return self.encoded_loss(system, batch, self._encoded(system, batch))

    def measure(self, system: System, batch: MeantRegions) -> Tensor:
        """The mean over the regions of each text, [B]; the mean of the batch where a text has none."""
        known = batch.meant >= 0
        losses = self._losses(system, batch, self._encoded(system, batch))[known]
        return mean_of_each(losses, batch.layout.sequence_ids(known.device)[known], len(batch))

    def _encoded(self, system: System, batch: MeantRegions) -> Encoded:
        encoded: Encoded = system(batch.inputs, OutputRows(dict.fromkeys(self.streams, EVERY_ROW), pooled=False))
        return encoded

    def _losses(self, system: System, batch: MeantRegions, encoded: Encoded) -> Tensor:
        scores: Tensor = system.head(self.name)(encoded.regions)[:, 0]
        return F.binary_cross_entropy_with_logits(scores, batch.meant.clamp(min=0).to(scores.dtype), reduction="none")


def region_scores(encoder: SingleStream | TwoStream) -> nn.Linear:
    """One logit per region state."""
    head = nn.Linear(getattr(encoder, "region_states", encoder.dim), 1)
    bert_init(head)
    return head


def _from_context(context: ObjectiveContext) -> RegionGrounding:
    return RegionGrounding()


GROUNDING_HEAD = Addition(RegionGrounding.name, PAPER, heads={RegionGrounding.name: region_scores})
REGION_GROUNDING = ObjectiveSpec(
    RegionGrounding.name, PAPER, _from_context, needs=(TEXTS, REGIONS, MEANT_REGIONS), streams=("regions",)
)
