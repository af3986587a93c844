"""Everything that ViLBERT and VOLTA's models are pretrained on, in one pass over captions and images.

Shapes: B examples, P hidden tokens, H hidden regions as the texts see them, R regions, F width of their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Inputs, Layout, Movable, Regions, Wanted, pad
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import Bernoulli, Choice, Hiding, MaskedTokens, mean, mean_of_each
from mm_kptm.vision.modules.box_regions import overlaps_of_images
from mm_kptm.vision.pretraining.region_targets import TARGETS, RegionTruths, drawn_negatives


@dataclass(frozen=True)
class ZeroedRegions:
    """How regions are hidden: the feature becomes zero or stays, the box stays (Lu et al. 2019, section 2.3).

    The feature of the whole image is the sum of what is left over the number of regions that do not show a hidden one:
    neither hidden themselves nor overlapping one by more than ``overlap``.

    Args:
        choice: which regions are hidden.
        zeroed: share of hidden regions whose feature becomes zero.
        overlap: intersection over union beyond which a region shows another.
        slots: how many regions the released loader makes room for; it counts empty ones among those that show nothing
            hidden, which makes the whole image fainter the fewer regions it has. None, the default, counts none.
    """

    choice: Choice = field(default_factory=lambda: Bernoulli(0.15))
    zeroed: float = 0.9
    overlap: float = 0.4
    slots: int | None = None

    def hide(self, regions: Regions, generator: torch.Generator) -> tuple[Regions, Tensor]:
        """The corrupted regions, and which were hidden, [R]; ``regions`` are left as they are."""
        choose, treat = torch.rand(2, regions.layout.total, generator=generator)
        hidden = self.choice(choose, torch.ones_like(choose, dtype=torch.bool), regions.layout)
        features = regions.features.masked_fill((hidden & (treat < self.zeroed))[:, None], 0.0)
        layout, owners = regions.layout, regions.layout.owners(hidden.device)
        overlapping = (overlaps_of_images(regions.boxes, layout) > self.overlap) & pad(hidden, layout)[:, None]
        shows = hidden | overlapping.any(-1)[owners, layout.places(hidden.device)]
        counts = torch.zeros(len(layout)).index_add(0, owners, (~shows).float())
        if self.slots is not None:
            counts = counts + (self.slots - torch.tensor(layout.lengths)).clamp(min=0)
        sums = features.new_zeros(len(layout), features.shape[1]).index_add(0, owners, features)
        whole = sums / counts.clamp(min=1).to(sums.dtype)[:, None]
        covered = replace(regions, features=features, whole=whole, classes=None, objects=None, attributes=None)
        return covered, hidden


@dataclass(frozen=True, eq=False)
class CaptionPairs(Movable):
    """Inputs with swapped images, hidden tokens and hidden regions, and what is to be found in them."""

    inputs: Inputs
    matched: Tensor  #: 1 where the text is about the image, [B]
    rows: Tensor  #: hidden tokens that are to be found, [P]
    labels: Tensor  #: what stood there, [P]
    owners: Tensor  #: the example of each, [P]
    regions: Tensor  #: hidden regions that are to be found, among those that the texts see, [H]
    truths: RegionTruths  #: what was seen there
    region_owners: Tensor  #: the example of each, [H]

    def __len__(self) -> int:
        return len(self.inputs)


class CaptionPretraining:
    """Masked tokens, masked regions and image-text matching from one pass over each batch, added up.

    Lu et al. (2019, section 2.3) in the form of the released code: half of the pairs are mismatched, and in these
    nothing hidden is asked for (``objective`` 1). Losses of tokens are averaged over tokens, those of regions over
    regions, those of pairs over pairs; where nothing was hidden the released code of ViLBERT gives NaN and this zero.

    Args:
        masking: of tokens.
        regions: how regions are hidden.
        targets: what is predicted of hidden regions, and its weight; VOLTA weighs several (``visual_target_weights``).
        rate: share of mismatched pairs; at 0 matching is not learned at all (``objective`` 2).
        ask_mismatched: whether mismatched pairs are asked for what they hide, too (``objective`` 0).
        num_negatives: how many other regions the target contrast tells a region from; VOLTA has 128.

    Raises:
        UserError: there is no such target.
    """

    name = "caption-pretraining"
    heads: ClassVar[tuple[str, ...]] = ("masked-tokens", "image-text-matching", "masked-regions")

    def __init__(
        self,
        masking: Hiding | None = None,
        regions: ZeroedRegions | None = None,
        *,
        targets: Mapping[str, float] | None = None,
        rate: float = 0.5,
        ask_mismatched: bool = False,
        num_negatives: int = 255,
    ) -> None:
        self.masking = masking
        self.regions = ZeroedRegions() if regions is None else regions
        self.targets = {"distributions": 1.0} if targets is None else dict(targets)
        for target in self.targets:
            if target not in TARGETS:
                raise UserError(f"nothing called {target!r} is predicted of regions; there are {', '.join(TARGETS)}")
        self.matching = ImageTextMatching(rate=rate)
        self.rate = rate
        self.ask_mismatched = ask_mismatched
        self.num_negatives = num_negatives

    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> CaptionPairs:
        """Swap images between texts, then hide tokens and regions.

        Raises:
            UserError: text or regions are missing, or nobody said how tokens are hidden.
        """
        if inputs.regions is None:
            raise UserError(f"{self.name} hides regions, but the inputs have none")
        if self.masking is None:
            raise UserError(f"{self.name} hides tokens, but was not told how; give it a Masking")
        pairs = self.matching.puzzle(inputs, generator)
        text = MaskedTokens(self.masking).puzzle(pairs.inputs, generator)
        covered, hidden = self.regions.hide(inputs.regions, generator)
        shown, seen = text.inputs.shown()
        owners = shown.owners(hidden.device)
        asked_of = torch.ones_like(pairs.matched) if self.ask_mismatched else pairs.matched
        found = (hidden[seen] & (asked_of[owners] == 1)).nonzero().squeeze(1)
        sources = torch.arange(len(hidden))[seen][found]
        negatives = None
        if "contrast" in self.targets:
            negatives = drawn_negatives(sources, inputs.regions.layout, self.num_negatives, generator)
        kept = asked_of[text.owners] == 1
        return CaptionPairs(
            replace(text.inputs, regions=covered),
            pairs.matched,
            text.rows[kept],
            text.labels[kept],
            text.owners[kept],
            found,
            RegionTruths.of(inputs.regions, sources, negatives=negatives),
            owners[found],
        )

    def losses(self, system: nn.Module, puzzle: CaptionPairs) -> dict[str, Tensor]:
        """The losses of hidden tokens [P], pairs [B] and, for every target by its name, hidden regions [H]."""
        encoded: Encoded = system(puzzle.inputs, Wanted(tokens=puzzle.rows, regions=puzzle.regions))
        tokens, matching, regions = (system.head(name) for name in self.heads)  # type: ignore[operator]
        losses = {"masked-tokens": F.cross_entropy(tokens(encoded.tokens), puzzle.labels, reduction="none")}
        if self.rate > 0:
            scores = matching(encoded.pooled)
            losses["image-text-matching"] = F.cross_entropy(scores, puzzle.matched, reduction="none")
        predicted = regions.by_target(encoded.regions)
        for target in self.targets:
            if target not in predicted:
                raise UserError(
                    f"{target} is to be predicted of regions, but the head masked-regions predicts "
                    f"{', '.join(predicted)}; build it for both"
                )
            losses[target] = TARGETS[target](predicted[target], puzzle.truths)
        return losses

    def parts(self, system: nn.Module, puzzle: CaptionPairs) -> dict[str, Tensor]:
        """The scalars whose sum is the loss, by name."""
        return {name: self.targets.get(name, 1.0) * mean(each) for name, each in self.losses(system, puzzle).items()}

    def loss(self, system: nn.Module, puzzle: CaptionPairs) -> Tensor:
        """The sum of all parts."""
        return torch.stack(list(self.parts(system, puzzle).values())).sum()

    def measure(self, system: nn.Module, puzzle: CaptionPairs) -> Tensor:
        """The sum of the losses of each example, [B]; a part that it does not have counts as the batch's mean."""
        losses = self.losses(system, puzzle)
        total = mean_of_each(losses["masked-tokens"], puzzle.owners, len(puzzle))
        for target, weight in self.targets.items():
            total = total + weight * mean_of_each(losses[target], puzzle.region_owners, len(puzzle))
        return total + losses["image-text-matching"] if self.rate > 0 else total


def region_losses(scores: Tensor, layout: Layout, targets: Tensor) -> Tensor:
    """Cross-entropy of every region's score with how right it is, summed over the regions of each text, [B].

    The released multi-task loss of RefCOCO, Visual7W and Flickr30k is the mean over texts; targets are overlaps with
    the region that is meant, and those below 0.5 are set to 0 before.

    Args:
        scores: one per region, [R].
        layout: where the regions of each text lie.
        targets: between 0 and 1, [R].
    """
    each = F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
    return each.new_zeros(len(layout)).index_add(0, layout.owners(each.device), each)
