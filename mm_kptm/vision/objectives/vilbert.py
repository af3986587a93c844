"""Pretraining objectives of ViLBERT and VOLTA's models in one forward pass.

Shapes: B examples, P masked tokens, H masked regions expanded per text, R regions, F width of their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, Regions, SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGION_FEATURES, REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec, require
from mm_kptm.objectives.tokens import Bernoulli, MaskedTokens, Masking, MaskingPolicy, TokenMasker
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.two_stream.region_embeddings import overlaps_of_images
from mm_kptm.vision.modules.two_stream.region_heads import MaskedRegionHead
from mm_kptm.vision.objectives.masked_objects import DETECTED_OBJECTS
from mm_kptm.vision.objectives.masked_regions import REGION_CLASSES
from mm_kptm.vision.objectives.region_targets import TARGETS, RegionTruths, drawn_negatives


@dataclass(frozen=True)
class VilbertRegionMasking:
    """Region masking: the feature becomes zero or stays, the box stays (Lu et al. 2019, section 2.3).

    The feature of the whole image is the sum of what is left over the number of regions that do not show a masked one:
    neither masked themselves nor overlapping one by more than ``overlap``.

    Args:
        policy: which regions are masked.
        zeroed: share of masked regions whose feature becomes zero.
        overlap: intersection over union beyond which a region shows another.
        slots: how many regions the released loader makes room for; it counts empty ones among those that show nothing
            masked, which makes the whole image fainter the fewer regions it has. None, the default, counts none.
    """

    policy: MaskingPolicy = field(default_factory=lambda: Bernoulli(0.15))
    zeroed: float = 0.9
    overlap: float = 0.4
    slots: int | None = None

    def mask(self, regions: Regions, generator: torch.Generator) -> tuple[Regions, Tensor]:
        """The corrupted regions, and which were masked, [R]; ``regions`` are left as they are."""
        choose, treat = torch.rand(2, regions.layout.total, generator=generator)
        masked = self.policy(choose, torch.ones_like(choose, dtype=torch.bool), regions.layout)
        features = regions.features.masked_fill((masked & (treat < self.zeroed))[:, None], 0.0)
        layout, sequence_ids = regions.layout, regions.layout.sequence_ids(masked.device)
        overlapping = (overlaps_of_images(regions.boxes, layout) > self.overlap) & pad(masked, layout)[:, None]
        shows = masked | overlapping.any(-1)[sequence_ids, layout.offsets_in_sequence(masked.device)]
        counts = torch.zeros(len(layout)).index_add(0, sequence_ids, (~shows).float())
        if self.slots is not None:
            counts = counts + (self.slots - torch.tensor(layout.lengths)).clamp(min=0)
        sums = features.new_zeros(len(layout), features.shape[1]).index_add(0, sequence_ids, features)
        whole = sums / counts.clamp(min=1).to(sums.dtype)[:, None]
        covered = replace(regions, features=features, whole_image=whole, classes=None, objects=None, attributes=None)
        return covered, masked


@dataclass(frozen=True, eq=False)
class VilbertBatch(Movable):
    """Inputs with mismatched images, masked tokens and masked regions, and all labels."""

    inputs: Inputs
    matched: Tensor  #: 1 where the text is about the image, [B]
    rows: Tensor  #: masked tokens to predict, [P]
    labels: Tensor  #: labels, [P]
    sequence_ids: Tensor  #: example of each, [P]
    regions: Tensor  #: masked regions to predict, rows of the regions expanded per text, [H]
    truths: RegionTruths  #: their targets
    region_sequence_ids: Tensor  #: example of each, [H]

    def __len__(self) -> int:
        return len(self.inputs)


class VilbertPretraining:
    """Masked tokens, masked regions and image-text matching from one pass over each batch, added up.

    Lu et al. (2019, section 2.3) in the form of the released code: half of the pairs are mismatched, and in these
    nothing masked is asked for (``objective`` 1). Losses of tokens are averaged over tokens, those of regions over
    regions, those of pairs over pairs; where nothing was masked the released code of ViLBERT gives NaN and this zero.

    Args:
        masking: of tokens.
        regions: how regions are masked.
        targets: what is predicted of masked regions, and its weight; VOLTA weighs several (``visual_target_weights``).
        rate: share of mismatched pairs; at 0 matching is not learned at all (``objective`` 2).
        ask_mismatched: whether masked tokens and regions of mismatched pairs are predicted, too (``objective`` 0).
        num_negatives: negatives of the target contrast; 128 in VOLTA.

    Raises:
        UserError: there is no such target, the rate is no probability, or the number of negatives is not 1 or more.
    """

    name = "vilbert-pretraining"
    heads: ClassVar[tuple[str, ...]] = ("masked-tokens", "image-text-matching", "masked-regions")

    def __init__(
        self,
        masking: TokenMasker | None = None,
        regions: VilbertRegionMasking | None = None,
        *,
        targets: Mapping[str, float] | None = None,
        rate: float = 0.5,
        ask_mismatched: bool = False,
        num_negatives: int = 255,
    ) -> None:
        self.head_sizes: dict[str, dict[str, Any]] = {}
        self.masking = masking
        self.regions = VilbertRegionMasking() if regions is None else regions
        self.targets = {"distributions": 1.0} if targets is None else dict(targets)
        for target in self.targets:
            if target not in TARGETS:
                raise UserError(f"nothing called {target!r} is predicted of regions; there are {', '.join(TARGETS)}")
        if isinstance(num_negatives, bool) or not isinstance(num_negatives, int) or num_negatives < 1:
            raise UserError(f"num_negatives of {self.name} is {num_negatives!r} but must be 1 or more")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise UserError(f"rate of {self.name} is {rate!r} but must be a share of the pairs, from 0 to 1")
        if not isinstance(ask_mismatched, bool):
            raise UserError(f"ask_mismatched of {self.name} is {ask_mismatched!r} but must be true or false")
        self.matching = ImageTextMatching(rate=rate)
        self.rate = rate
        self.ask_mismatched = ask_mismatched
        self.num_negatives = num_negatives

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> VilbertBatch:
        """Swap images between texts, then mask tokens and regions.

        Raises:
            UserError: text or regions are missing, or there is no masking of tokens.
        """
        if inputs.regions is None:
            raise UserError(f"{self.name} masks regions, but the inputs have none")
        if self.masking is None:
            raise UserError(f"{self.name} masks tokens, but has no masking; give it a Masking")
        pairs = self.matching.prepare(inputs, generator)
        text = MaskedTokens(self.masking).prepare(pairs.inputs, generator)
        covered, masked = self.regions.mask(inputs.regions, generator)
        shown, seen = text.inputs.repeat_shared()
        sequence_ids = shown.sequence_ids(masked.device)
        asked_of = torch.ones_like(pairs.matched) if self.ask_mismatched else pairs.matched
        found = (masked[seen] & (asked_of[sequence_ids] == 1)).nonzero().squeeze(1)
        sources = torch.arange(len(masked))[seen][found]
        negatives = None
        if "contrast" in self.targets:
            negatives = drawn_negatives(sources, inputs.regions.layout, self.num_negatives, generator)
        kept = asked_of[text.sequence_ids] == 1
        return VilbertBatch(
            text.inputs.with_streams(regions=covered),
            pairs.matched,
            text.rows[kept],
            text.labels[kept],
            text.sequence_ids[kept],
            found,
            RegionTruths.of(inputs.regions, sources, negatives=negatives),
            sequence_ids[found],
        )

    def losses(self, system: System, batch: VilbertBatch) -> dict[str, Tensor]:
        """The losses of masked tokens [P], pairs [B] and, for every target by its name, masked regions [H]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows, "regions": batch.regions}))
        tokens, matching = (system.head(name) for name in self.heads[:2])
        regions = cast(MaskedRegionHead, system.head(self.heads[2]))
        losses = {"masked-tokens": F.cross_entropy(tokens(encoded.text), batch.labels, reduction="none")}
        if self.rate > 0:
            scores = matching(encoded.pooled)
            losses["image-text-matching"] = F.cross_entropy(scores, batch.matched, reduction="none")
        predicted = regions.by_target(encoded.regions)
        for target in self.targets:
            if target not in predicted:
                raise UserError(
                    f"{target} is to be predicted of regions, but the head masked-regions predicts "
                    f"{', '.join(predicted)}; build it for both"
                )
            losses[target] = TARGETS[target](predicted[target], batch.truths)
        return losses

    def parts(self, system: System, batch: VilbertBatch) -> dict[str, Tensor]:
        """The scalars whose sum is the loss, by name."""
        return {name: self.targets.get(name, 1.0) * mean(each) for name, each in self.losses(system, batch).items()}

    def loss(self, system: System, batch: VilbertBatch) -> Tensor:
        """The sum of all parts."""
        return torch.stack(list(self.parts(system, batch).values())).sum()

    def measure(self, system: System, batch: VilbertBatch) -> Tensor:
        """The sum of the losses of each example, [B]; a missing part counts as the batch mean."""
        losses = self.losses(system, batch)
        total = mean_of_each(losses["masked-tokens"], batch.sequence_ids, len(batch))
        for target, weight in self.targets.items():
            total = total + weight * mean_of_each(losses[target], batch.region_sequence_ids, len(batch))
        return total + losses["image-text-matching"] if self.rate > 0 else total


def region_losses(scores: Tensor, layout: SequenceLayout, targets: Tensor) -> Tensor:
    """Binary cross-entropy of every region with its overlap, summed over the regions of each text, [B].

    The released multi-task loss of RefCOCO, Visual7W and Flickr30k is the mean over texts; targets are overlaps with
    the region that is meant, and those below 0.5 are set to 0 before.

    Args:
        scores: logits of the regions, [R].
        layout: layout of the regions of each text.
        targets: between 0 and 1, [R].
    """
    each = F.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
    return each.new_zeros(len(layout)).index_add(0, layout.sequence_ids(each.device), each)


def weighted_targets(text: str) -> dict[str, float]:
    """Targets of masked regions and their weights, as experiment files write them.

    >>> weighted_targets("distributions features=0.5")
    {'distributions': 1.0, 'features': 0.5}

    Raises:
        UserError: no target is named, one is there twice, or a weight is no number above 0.
    """
    found: dict[str, float] = {}
    for one in text.replace(",", " ").split():
        name, given, weight = one.partition("=")
        try:
            value = float(weight) if given else 1.0
        except ValueError:
            value = 0.0
        if name in found or not 0 < value < float("inf"):
            raise UserError(
                f"targets of {VilbertPretraining.name} are {text!r}, but must be names, each once, with a weight above "
                "0 where it is not 1, such as 'distributions features=0.5'"
            )
        found[name] = value
    if not found:
        raise UserError(f"targets of {VilbertPretraining.name} name nothing; there are {', '.join(TARGETS)}")
    return found


def _vilbert(context: ObjectiveContext) -> VilbertPretraining:
    asked = dict(context.arguments)
    targets = weighted_targets(str(asked.pop("targets", "distributions")))
    objective = VilbertPretraining(Masking.of(context), targets=targets, **asked)
    sizes: dict[str, Any] = {}
    for need, of in TARGET_NEEDS.items():
        if of & targets.keys():
            require(objective.name, [need], context.offers)
    if TARGET_NEEDS[REGION_CLASSES] & targets.keys():
        sizes["num_classes"] = context.offered(REGION_CLASSES)
    if TARGET_NEEDS[DETECTED_OBJECTS] & targets.keys():
        sizes |= context.offered(DETECTED_OBJECTS)
    objective.head_sizes = {"masked-regions": {**sizes, **_of_head(targets, context.recipe)}}
    return objective


def _of_head(targets: Mapping[str, float], recipe: Recipe | None) -> dict[str, str]:
    """The targets as an argument of the head: one in ViLBERT, several in VOLTA; none where they are the usual one."""
    if list(targets) == ["distributions"]:
        return {}
    if recipe is None or recipe.family != "vilbert":
        return {"targets": " ".join(targets)}
    published = list(TARGETS)[:3]
    if len(targets) > 1 or not targets.keys() <= set(published):
        raise UserError(
            f"{recipe.name} predicts one of {', '.join(published)} of masked regions, as published, not "
            f"{', '.join(targets)}; VOLTA's models predict several"
        )
    return {"target": next(iter(targets))}


#: What targets need of the data.
TARGET_NEEDS: dict[str, frozenset[str]] = {
    REGION_CLASSES: frozenset({"distributions", "classes"}),
    DETECTED_OBJECTS: frozenset({"objects", "attributes"}),
    REGION_FEATURES: frozenset({"features", "contrast", "smooth-features"}),
}

VILBERT_PRETRAINING = ObjectiveSpec(
    VilbertPretraining.name,
    "Lu et al. 2019, ViLBERT, NeurIPS, section 2.3",
    _vilbert,
    needs=(TEXTS, REGIONS),
    arguments=("targets", "rate", "ask_mismatched", "num_negatives"),
)
