"""What our code makes of the inputs of an equation case, by the name of the case (before a dot)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from mm_kptm.batch import Detected, Regions, SequenceLayout
from mm_kptm.nn.steps import Stream
from mm_kptm.objectives.adversarial import Ascent, symmetric_kl
from mm_kptm.objectives.mutual_information import donsker_varadhan, info_nce, jensen_shannon
from mm_kptm.objectives.pair_scores import (
    circle_loss,
    diagonal_cross_entropy,
    max_margin,
    mil_nce,
    multi_positive_contrast,
)
from mm_kptm.vision.boxes import corners_and_share, thousandths
from mm_kptm.vision.extractors.proposals import inclusive
from mm_kptm.vision.modules.single_stream.image_at_tokens import ImageAtTokens
from mm_kptm.vision.modules.single_stream.vlp_embedding import box_descriptors, region_geometry
from mm_kptm.vision.modules.two_stream.tangled_attention import TangledAttention
from mm_kptm.vision.modules.video_tokens import hierarchical_token

Given = dict[str, Any]


def perturbed(given: Given, *, norm: str = "l2", max_norm: float, by_gradient: bool = False) -> Tensor:
    delta, gradient = torch.tensor(given["delta"]), torch.tensor(given["gradient"])
    layout = SequenceLayout((delta.shape[1],) * len(delta))
    ascent = Ascent(given["lr"], norm, max_norm, by_gradient)
    return ascent(delta.flatten(0, 1), gradient.flatten(0, 1), layout).view_as(delta)


def perturbation_step(given: Given) -> Given:
    return {
        "l2": perturbed(given, max_norm=given["max_norm"]),
        "linf": perturbed(given, norm="linf", max_norm=given["max_norm"]),
        "l2_unbounded": perturbed(given, max_norm=0.0),
    }


def perturbation_step_unimo(given: Given) -> Given:
    return {"l2": perturbed(given, max_norm=given["max_norm"], by_gradient=True)}


def symmetric(given: Given) -> Given:
    clean, other = torch.tensor(given["clean_logits"]), torch.tensor(given["perturbed_logits"])
    summed = symmetric_kl(clean, other)
    return {"vqa": summed, "nlvr2": summed, "vcr": symmetric_kl(clean, other, reduction="mean")}


def circle(given: Given) -> Given:
    positive, negative = torch.tensor(given["positive"]), torch.tensor(given["negative"])
    return {"loss": circle_loss(positive, negative, margin=given["margin"], scale=given["scale"])}


def clips(given: Given) -> Given:
    return {"loss": mil_nce(torch.tensor(given["similarity"]), group=given["n_pair"])}


def hinges(given: Given) -> Given:
    rate = given["hard_negative_rate"] if given.get("negative_weighting") else None
    scores = torch.tensor(given["similarity"])
    return {"loss": max_margin(scores, margin=given["margin"], group=given["n_pair"], hard_rate=rate)}


def geometry(given: Given) -> Given:
    boxes = torch.tensor(given["boxes"])
    layout, sure = SequenceLayout((len(boxes),)), boxes[:, -1]
    regions = Regions(
        torch.zeros(len(boxes), 1),
        boxes[:, :4],
        layout,
        classes=torch.tensor(given["class_probabilities"]),
        objects=Detected(torch.zeros(len(boxes), dtype=torch.long), sure),
    )
    return {"six": box_descriptors(boxes[:, :4], sure, layout), "geometry": region_geometry(regions)}


def cmcl(given: Given) -> Given:
    scores = torch.tensor(given["scores"])
    positive = torch.arange(len(scores)) < given["n_positive"]
    return {"loss": multi_positive_contrast(scores, positive, temperature=given["temperature"])}


def visual_nce(given: Given) -> Given:
    scores = torch.tensor(given["candidates"]) @ torch.tensor(given["prediction"])
    return {"loss": multi_positive_contrast(scores, torch.arange(len(scores)) == 0)}


def information(given: Given) -> Given:
    scores = torch.tensor(given["critic"])
    return {"jsd": jensen_shannon(scores), "dv": donsker_varadhan(scores), "infonce_loss": -info_nce(scores)}


@torch.no_grad()
def image_at_tokens(given: Given) -> Given:
    kernel = torch.tensor(given["kernel"])
    module = ImageAtTokens(*kernel.shape)
    module.project.weight.copy_(kernel.T)
    module.project.bias.copy_(torch.tensor(given["bias"]))
    return {"output": module(torch.tensor(given["summed_embeddings"]), torch.tensor(given["image_embeddings"]))}


def fractions(given: Given) -> Tensor:
    width, height = given["width"], given["height"]
    return torch.tensor([given["box"]]).double() / torch.tensor([width, height, width, height])


@torch.no_grad()
def tangled(given: Given) -> Given:
    streams = {name: torch.tensor(given[name]) for name in ("action", "words", "regions")}
    module = TangledAttention(streams["action"].shape[1], 1, dropout=0.0)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.copy_(torch.eye(len(part.weight)))
            part.bias.zero_()
    read = module(*(Stream.of(rows, SequenceLayout((len(rows),))) for rows in streams.values()))
    return {"c_w": read.from_words, "c_r": read.from_regions, "regions_out": read.regions, "words_out": read.words}


EQUATIONS: dict[str, Callable[[Given], Given]] = {
    "circle_loss": circle,
    "symmetric_kl": symmetric,
    "perturbation_step": perturbation_step,
    "perturbation_step_unimo": perturbation_step_unimo,
    "mil_nce": clips,
    "mil_nce_single": clips,
    "max_margin": hinges,
    "max_margin_weighted": hinges,
    "cross_en": lambda given: {"loss": diagonal_cross_entropy(torch.tensor(given["similarity"]))},
    "vlp_geometry": geometry,
    "cmcl": cmcl,
    "cbt_visual_nce": visual_nce,
    "mutual_information": information,
    "b2t2_embedding": image_at_tokens,
    "imagebert_location": lambda given: {"location": corners_and_share(fractions(given))[0]},
    "tangled_attention": tangled,
    "hierarchical_token": lambda given: {"id": hierarchical_token(given["path"], given["k"])},
    "nms_inclusive": lambda given: {
        "keep": nms(inclusive(torch.tensor(given["boxes"])), torch.tensor(given["scores"]), given["threshold"])
    },
    "layoutlm_box": lambda given: {"box_1000": thousandths(fractions(given))[0]},
}
