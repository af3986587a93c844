"""Masked regions predicted in words: the names of what a detector sees there (Zhou et al. 2021, UC2).

Shapes: P masked regions, R regions, C classes of the detector, V vocabulary, W tokens that names can have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Regions
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import MaskingPolicy
from mm_kptm.vision.objectives.masked_regions import REGION_CLASSES, MaskedRegions

REGION_NAMES = "names of the classes of image regions"  #: need fulfilled by the token ids of every class, from 1 on


class MaskedRegionWords(MaskedRegions):
    """Tokens of the names of masked regions through the head of masked tokens (Zhou et al. 2021, section 3.3, VMLM).

    The detector's distribution over classes becomes one over the tokens of their names, each class's share split
    evenly among the tokens of its name; background names nothing. The loss is the Kullback-Leibler divergence among
    the tokens that names can have, averaged over all elements (regions times tokens), as in the released code.

    Args:
        names: token ids of the name of every class, background left out.
        choice: which regions are masked.

    Raises:
        UserError: no class has a name.
    """

    name = "masked-region-words"
    head = "masked-tokens"

    def __init__(self, names: Sequence[Sequence[int]], choice: MaskingPolicy | None = None) -> None:
        super().__init__(choice)
        self.tokens = torch.tensor(sorted({token for name in names for token in name}), dtype=torch.long)
        if not len(self.tokens):
            raise UserError("masked-region-words predicts tokens of names, but no class of the regions has a name")
        places = {token: place for place, token in enumerate(self.tokens.tolist())}
        self.shares = torch.zeros(len(names) + 1, len(self.tokens))  # class 0 is background
        for number, name in enumerate(names, 1):
            for token in name:
                self.shares[number, places[token]] += 1 / len(name)

    def targets(self, regions: Regions) -> Tensor:
        """The distribution over tokens of every region, [R, W].

        Raises:
            UserError: the regions carry no classes, or another number of them than have names.
        """
        if regions.classes is None:
            raise UserError(f"{self.name} needs the detector's classes of every region, but the regions carry none")
        if regions.classes.shape[1] != len(self.shares):
            raise UserError(
                f"the regions have {regions.classes.shape[1]} classes with their background, but {len(self.shares) - 1}"
                " have names; name every class but the background"
            )
        probabilities = regions.classes.to(self.shares.dtype) @ self.shares
        return probabilities / probabilities.sum(1, keepdim=True).clamp(min=1e-12)

    def elements(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Divergence of the scores [P, V] from the targets [P, W], by element, [P, W]."""
        scores = self.restricted(predicted).log_softmax(-1)
        return F.kl_div(scores, targets.to(scores.dtype), reduction="none")

    def restricted(self, scores: Tensor) -> Tensor:
        """The scores [P, V] of the tokens that names can have, [P, W]."""
        return scores[:, self.tokens.to(scores.device)]


def _named(context: ObjectiveContext) -> MaskedRegionWords:
    return MaskedRegionWords(context.offered(REGION_NAMES))


MASKED_REGION_WORDS = ObjectiveSpec(
    MaskedRegionWords.name,
    "Zhou et al. 2021, UC2, CVPR, section 3.3",
    _named,
    needs=(TEXTS, REGIONS, REGION_CLASSES, REGION_NAMES),
)
