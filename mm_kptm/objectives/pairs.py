"""Image-text matching.

Shapes: B examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveSpec
from mm_kptm.systems.system import System


@dataclass(frozen=True, eq=False)
class Pairs(Movable):
    """Inputs of which some have the image of another example."""

    inputs: Inputs
    matched: Tensor  #: 1 for matched pairs, 0 for mismatched ones, [B]

    def __len__(self) -> int:
        return len(self.inputs)


class ImageTextMatching:
    """Image-text matching with the head of that name; class 1 means matched.

    For checkpoints of the opposite polarity (Oscar, ViLBERT) the builder of the head swaps the classes.
    """

    name = "image-text-matching"

    def __init__(self, *, rate: float = 0.5) -> None:
        self.rate = rate

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Pairs:
        """Replace the images of a share ``rate`` of the examples by those of other examples of the batch."""
        count = len(inputs)
        own = torch.arange(count) if inputs.image_of is None else inputs.image_of
        swapped = torch.rand(count, generator=generator) < self.rate
        shift = torch.randint(1, max(count, 2), (count,), generator=generator)
        others = own[(torch.arange(count) + shift) % count] if count else own
        image_of = torch.where(swapped, others, own)
        return Pairs(replace(inputs, image_of=image_of), (image_of == own).long())

    def losses(self, system: System, batch: Pairs) -> Tensor:
        """Cross-entropy of every pair, [B]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        scores = system.head(self.name)(encoded.pooled)
        return F.cross_entropy(scores, batch.matched, reduction="none")

    def loss(self, system: System, batch: Pairs) -> Tensor:
        """The mean over pairs."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Pairs) -> Tensor:
        """The loss of each pair, [B]."""
        return self.losses(system, batch)


def pair_loss(scores: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of two-way scores [B, 2] against classes [B]."""
    return F.cross_entropy(scores, classes)


IMAGE_TEXT_MATCHING = ObjectiveSpec(
    "image-text-matching",
    "Chen et al. 2020, UNITER, ECCV, section 3.2",
    lambda context: ImageTextMatching(**context.arguments),
    needs=(TEXTS, REGIONS),
)
