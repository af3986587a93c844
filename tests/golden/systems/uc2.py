"""UC2 against its released pretraining model, all losses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.nn.positions import counted_positions
from mm_kptm.objectives.pairs import ImageTextMatching, Pairs
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.masked_regions import (
    HiddenRegions,
    MaskedRegionClasses,
    MaskedRegionDistributions,
    MaskedRegionFeatures,
    MaskedRegions,
)
from mm_kptm.vision.objectives.region_words import MaskedRegionWords
from tests.golden.case import Answer, Case
from tests.golden.systems.uniter import Given


class Captions(Given):
    """The official tensors of a case; boxes are given as numbers of their own."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.pad = case.config["pad_token_id"]

    def tokens(self, name: str = "input_ids", real: Tensor | None = None, positions: Tensor | None = None) -> Tokens:
        ids = self.tensors[name]
        counted = counted_positions(ids, self.pad) if positions is None else positions - (self.pad + 1)
        return Tokens.padded(ids, self.text if real is None else real, positions=counted)

    def image(self, real: Tensor | None = None) -> Regions:
        boxes = self.tensors["img_pos_feat"]
        regions = Regions.padded(self.tensors["img_feat"], boxes[..., :4].clamp(max=1), self.regions)
        return replace(regions, geometry=boxes[self.regions])


def pretraining(case: Case) -> dict[str, Answer]:
    given = Captions(case)
    tensors, inputs = given.tensors, given.inputs()
    heads = ("masked-tokens", "masked-region-features", "image-text-matching")
    kinds = {"num_classes": tensors["label_targets"].shape[1]}
    system = mm_kptm.load("uc2", case.folder, heads={**{name: {} for name in heads}, "masked-region-classes": kinds})
    last = list(system.hidden_states(inputs))[-1]
    labels = tensors["txt_labels"][given.text]
    rows = (labels != -1).nonzero().squeeze(1)
    owners = inputs.text.layout.sequence_ids(rows.device)[rows]
    objective = MaskedTokens(Masking(mask_id=0, pool=(0, 1), never=frozenset()))

    def masked(shown: Inputs) -> Tensor:
        return objective.losses(system, RowTargets(shown, rows, labels[rows], owners))

    restarted = given.tokens(positions=tensors["tlm_position_ids"])
    matching = ImageTextMatching()
    pairs = Pairs(inputs, tensors["targets"])
    return {
        "sequence_output": Answer(last.x, given.joint),
        "mlm_scores": Answer(system.head("masked-tokens")(system(inputs).text[rows])),
        "mlm_loss": Answer(masked(inputs)),
        "tlm_loss": Answer(masked(inputs.with_streams(text=restarted))),
        "tlm_ni_loss": Answer(masked(Inputs(text=given.tokens()))),
        "itm_scores": Answer(system.head("image-text-matching")(system(inputs).pooled)),
        "itm_loss": Answer(matching.measure(system, pairs)),
        **regions(system, given),
    }


def regions(system: System, given: Captions) -> dict[str, Answer]:
    tensors, image = given.tensors, given.image()
    hidden = tensors["img_masks"][given.regions]
    features = image.features.masked_fill(hidden[:, None], 0.0)
    inputs = given.inputs().with_streams(regions=replace(image, features=features, masked=hidden))
    rows = hidden.nonzero().squeeze(1)
    owners = image.layout.sequence_ids(rows.device)[rows]
    words = MaskedRegionWords([[token] for token in tensors["valid_token_ids"].tolist()])
    order = words.tokens.argsort()[tensors["valid_token_ids"].argsort().argsort()]

    def losses(objective: MaskedRegions, targets: Tensor) -> Tensor:
        return objective.losses(system, HiddenRegions(inputs, rows, targets, owners))

    scores = words.restricted(system.head("masked-tokens")(system(inputs).regions[rows]))
    told = torch.zeros_like(tensors["soft_targets"])
    told[:, order] = tensors["soft_targets"]
    return {
        "mrfr_loss": Answer(losses(MaskedRegionFeatures(), image.features[rows])),
        "mrckl_loss": Answer(losses(MaskedRegionDistributions(), tensors["label_targets"])),
        "mrc_loss": Answer(losses(MaskedRegionClasses(), tensors["label_targets"])),
        "vmlm_soft_scores": Answer(scores[:, order]),
        "vmlm_soft_loss": Answer(losses(words, told)[:, order]),
    }


CASES = {"pretraining": pretraining}
"""What each golden case compares."""
