"""UNITER against the released code of Chen et al. (2020)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens, layout_of
from mm_kptm.nn.assembly import join
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
    WordRegionAlignment,
    grounding_losses,
    pair_distances,
    ranking_losses,
)
from tests.golden.case import Answer, Case


class Given:
    """The official tensors of a case as inputs of ours; what is real is read off the official gather index."""

    def __init__(self, case: Case) -> None:
        self.tensors = given = case.inputs
        self.joint = given["attn_masks"].bool()
        width = given["input_ids"].shape[1]
        self.text, self.regions = (
            torch.zeros(given[name].shape[:2], dtype=torch.bool) for name in ("input_ids", "img_feat")
        )
        for example, (picked, real) in enumerate(zip(given["gather_index"], self.joint, strict=True)):
            rows = picked[real]
            self.text[example, rows[rows < width]] = True
            self.regions[example, rows[rows >= width] - width] = True

    def tokens(self, name: str = "input_ids", real: Tensor | None = None) -> Tokens:
        given = self.tensors
        return Tokens.padded(
            given[name],
            self.text if real is None else real,
            positions=given["position_ids"],
            segments=given.get("txt_type_ids"),
        )

    def image(self, real: Tensor | None = None) -> Regions:
        given = self.tensors
        return Regions.padded(
            given["img_feat"],
            given["img_pos_feat"][..., :4],
            self.regions if real is None else real,
            segments=given.get("img_type_ids"),
        )

    def inputs(self) -> Inputs:
        return Inputs(text=self.tokens(), regions=self.image())


def loaded(case: Case, **heads: dict[str, int]) -> System:
    """The system of a case with these heads (underscores for dashes) and what the fixture sizes of them."""
    return mm_kptm.load("uniter", case.folder, heads={name.replace("_", "-"): heads[name] for name in heads})


def pretrain(case: Case) -> dict[str, Answer]:
    system = loaded(
        case,
        masked_tokens={},
        masked_region_features={},
        masked_region_classes={"num_classes": case.config["_fixture"]["img_label_dim"]},
        image_text_matching={},
    )
    given = Given(case)
    tensors, inputs = given.tensors, given.inputs()
    encoded, depths = system(inputs), list(system.hidden_states(inputs))
    text_only = tensors["input_ids"] != 0
    image_only = torch.arange(given.regions.shape[1]) < tensors["num_bbs"][:, None]
    embed = system.encoder.embed
    return {
        "text_embeddings": Answer(embed.text(inputs.text), given.text),
        "image_embeddings": Answer(embed.regions(inputs.regions), given.regions),
        "joint_embeddings": Answer(depths[0].x, given.joint),
        **{f"hidden.{depth}": Answer(stream.x, given.joint) for depth, stream in enumerate(depths[1:])},
        "pooled": Answer(encoded.pooled),
        "text_only.sequence": Answer(system(Inputs(text=given.tokens(real=text_only))).text, text_only),
        "image_only.sequence": Answer(system(Inputs(regions=given.image(image_only))).regions, image_only),
        **matching(system, given),
        **masked_text(system, given),
        **masked_regions(system, given),
    }


def matching(system: System, given: Given) -> dict[str, Answer]:
    inputs, matched = given.inputs(), given.tensors["itm.targets"]
    batch = Pairs(inputs, matched)
    encoded = system(inputs)
    distances = pair_distances(encoded, inputs)
    return {
        "itm.scores": Answer(system.head("image-text-matching")(encoded.pooled)),
        "itm.loss": Answer(ImageTextMatching().measure(system, batch)),
        "itm.ot_pos": Answer(distances[matched == 1]),
        "itm.ot_neg": Answer(distances[matched == 0]),
        "itm.total_loss": Answer(WordRegionAlignment(weight=0.1).loss(system, batch).reshape(1)),
    }


def masked_text(system: System, given: Given) -> dict[str, Answer]:
    labels = given.tensors["mlm.txt_labels"][given.text]
    rows = (labels != -1).nonzero().squeeze(1)
    inputs = given.inputs().with_streams(text=given.tokens("mlm.input_ids"))
    owners = inputs.text.layout.sequence_ids(rows.device)[rows]
    objective = MaskedTokens(Masking(mask_id=4, pool=(5, 6), never=frozenset()))
    return {
        "mlm.scores": Answer(system.head("masked-tokens")(system(inputs).text[rows])),
        "mlm.loss": Answer(objective.losses(system, RowTargets(inputs, rows, labels[rows], owners))),
    }


def masked_regions(system: System, given: Given) -> dict[str, Answer]:
    tensors = given.tensors
    hidden = tensors["mrm.img_masks"][given.regions]
    covered = replace(given.image(), features=tensors["mrm.img_feat"][given.regions], masked=hidden)
    inputs = given.inputs().with_streams(regions=covered)
    rows = hidden.nonzero().squeeze(1)
    owners = covered.layout.sequence_ids(rows.device)[rows]
    encoded = system(inputs)

    def losses(objective: MaskedRegions, targets: str) -> Tensor:
        return objective.losses(system, HiddenRegions(inputs, rows, tensors[targets], owners))

    joint = list(system.hidden_states(inputs))[-1].x
    return {
        "mrm.sequence": Answer(joint, given.joint),
        "mrfr.pred": Answer(system.head("masked-region-features")(encoded.regions[rows])),
        "mrfr.loss": Answer(losses(MaskedRegionFeatures(), "mrm.feat_targets")),
        "mrc.logits": Answer(system.head("masked-region-classes")(encoded.regions[rows])),
        "mrc.loss": Answer(losses(MaskedRegionClasses(), "mrm.label_targets")),
        "mrckl.loss": Answer(losses(MaskedRegionDistributions(), "mrm.label_targets")),
    }


def joined(system: System, inputs: Inputs) -> tuple[Tensor, SequenceLayout]:
    """The final states of text and regions of every pair, and where they lie."""
    encoded = system(inputs)
    shown, _ = inputs.repeat_shared()
    joint = join(inputs.text.layout, shown, encoded.text.device)
    return joint.rows(encoded.text, encoded.regions), joint.layout


def vqa(case: Case) -> dict[str, Answer]:
    system = loaded(case, vqa={"num_answers": case.config["_fixture"]["num_answer"]})
    given = Given(case)
    inputs = given.inputs()
    pooled = system(inputs).pooled
    scores = system.head("vqa")(pooled)
    bce = F.binary_cross_entropy_with_logits(scores, given.tensors["targets"], reduction="none")
    return {
        "sequence": Answer(joined(system, inputs)[0], given.joint),
        "pooled": Answer(pooled),
        "answer_scores": Answer(scores),
        "bce": Answer(bce),
        "loss": Answer(bce.sum(1).mean().reshape(1)),
    }


def nlvr2(case: Case) -> dict[str, Answer]:
    system = loaded(case, nlvr2={})
    given = Given(case)
    rows, layout = joined(system, given.inputs())
    scores = system.head("nlvr2")(rows, layout)
    return {
        "sequence": Answer(rows, given.joint),
        "answer_scores": Answer(scores),
        "loss": Answer(F.cross_entropy(scores, given.tensors["targets"], reduction="none")),
    }


def retrieval(case: Case) -> dict[str, Answer]:
    fixture = case.config["_fixture"]
    system = mm_kptm.load("uniter", case.folder)
    scores = system.head("retrieval")(system(Given(case).inputs()).pooled)
    groups = scores.view(-1, fixture["sample_size"])
    return {
        "rank_scores": Answer(scores),
        "rank_loss": Answer(ranking_losses(groups, margin=fixture["margin"])),
    }


def refexp(case: Case) -> dict[str, Answer]:
    system = loaded(case, grounding={"num_layers": case.config["_fixture"]["mlp"]})
    given = Given(case)
    objects = ~given.tensors["obj_masks"]
    scores = system.head("grounding")(system(given.inputs()).regions).squeeze(1)
    grid = torch.full(objects.shape, -1e4)
    grid[given.regions] = scores
    grid = grid.masked_fill(~objects, -1e4)
    offered = given.regions & objects
    targets = given.tensors["targets"]
    places = (offered.cumsum(1) - 1).gather(1, targets).squeeze(1)  # the target among the regions on offer
    losses = grounding_losses(grid[offered], layout_of(offered), places)
    return {"scores": Answer(grid), "loss": Answer(losses)}


def vcr(case: Case) -> dict[str, Answer]:
    system = loaded(case, vcr={})
    given = Given(case)
    scores = system.head("vcr")(system(given.inputs()).pooled)
    loss = F.cross_entropy(scores, given.tensors["targets"].squeeze(1))
    return {"rank_scores": Answer(scores[:, 1:]), "loss": Answer(loss.reshape(1))}


CASES = {
    "pretrain": pretrain,
    "vqa": vqa,
    "nlvr2_paired_attn": nlvr2,
    "retrieval": retrieval,
    "refexp": refexp,
    "vcr": vcr,
}
