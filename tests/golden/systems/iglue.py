"""The multilingual models of IGLUE against its code: xUNITER, UC2 and M3P."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens, layout_of
from mm_kptm.nn.positions import counted_positions
from mm_kptm.vision.objectives.region_targets import TARGETS, RegionTruths
from tests.golden.case import Answer, Case


def shown(case: Case) -> tuple[Inputs, Tensor, Tensor]:
    """Text and regions, whose boxes are numbers of their own, and which of both are real."""
    given, pad = case.inputs, case.config["pad_token_id"]
    real, image = given["attention_mask"].bool(), given["image_attention_mask"].bool()
    text = Tokens.padded(given["input_ids"], real, positions=counted_positions(given["input_ids"], pad))
    regions = Regions.padded(given["image_feat"], given["image_loc"][..., :4], image)
    regions = replace(regions, boxes=regions.boxes.clamp(max=1), geometry=given["image_loc"][image])
    return Inputs(text=text, regions=regions), real, image


def joint(case: Case, name: str, **sizes: Any) -> dict[str, Answer]:
    """Pretraining of one stream over text and regions; the first of these is the whole image where there is one."""
    given, settings = case.inputs, case.config
    target = list(TARGETS)[int(next(iter(settings["visual_target_weights"])))]
    heads = {
        "masked-tokens": {},
        "image-text-matching": {},
        "masked-regions": {"targets": target, "num_classes": settings["num_visual_classes"]},
    }
    system = mm_kptm.load(name, case.folder, heads=heads, whole_image=False)
    inputs, real, image = shown(case)
    embedded, *_, last = system.hidden_states(inputs)
    encoded = system(inputs)
    firsts = [layout_of(mask).starts(mask.device) for mask in (real, image)]
    pooler = system.encoder.pooler
    scores = system.head("masked-tokens")(last.left.x)
    predicted = system.head("masked-regions").by_target(last.right.x)[target]
    matching = system.head("image-text-matching")(encoded.pooled).flip(1)
    answers = {
        "text_embedding": Answer(embedded.left.x, real),
        "image_embedding": Answer(embedded.right.x, image),
        "sequence_output_t": Answer(last.left.x, real),
        "sequence_output_v": Answer(last.right.x, image),
        "pooled_output_t": Answer(pooler.of_text(last.left.x[firsts[0]])),
        "prediction_scores_t": Answer(scores, real),
        "prediction_scores_v": Answer(predicted, image),
        "seq_relationship": Answer(matching),
        "next_sentence_loss": Answer(F.cross_entropy(matching, given["next_sentence_label"]).reshape(1)),
        "masked_lm_loss": Answer(F.cross_entropy(scores, given["masked_lm_labels"][real], ignore_index=-1).reshape(1)),
        "img_loss": Answer(region_loss(case, predicted, image, target).reshape(1)),
    }
    if "pooled_output_v" in case.outputs:
        answers["pooled_output_v"] = Answer(pooler.of_regions(last.right.x[firsts[1]]))
    return answers


def region_loss(case: Case, predicted: Tensor, image: Tensor, target: str) -> Tensor:
    """Mean over the masked regions; labels leave out the whole image where there is one."""
    labels, classes = case.inputs["image_label"], case.inputs["image_cls"]
    whole = image.shape[1] - labels.shape[1]
    scores = predicted.new_zeros(*image.shape, predicted.shape[1])
    scores[image] = predicted
    masked = labels == 1
    truths = RegionTruths(features=classes[masked], classes=classes[masked])
    return TARGETS[target](scores[:, whole:][masked], truths).mean()


def xuniter(case: Case) -> dict[str, Answer]:
    return joint(case, "xuniter")


def uc2(case: Case) -> dict[str, Answer]:
    return joint(case, "volta-uc2")


def m3p(case: Case) -> dict[str, Answer]:
    """The released mask takes the first rows, as many as are real: it sees padded regions, and cuts the text."""
    given, pad = case.inputs, case.config["pad_token_id"]
    image = torch.ones_like(given["image_attention_mask"], dtype=torch.bool)
    counts = given["image_attention_mask"].sum(1) + given["attention_mask"].sum(1) - image.shape[1]
    real = torch.arange(given["input_ids"].shape[1]) < counts[:, None]
    system = mm_kptm.load("m3p", case.folder)
    assert pad not in given["input_ids"][real]
    regions = Regions.padded(given["image_feat"], given["image_loc"][..., :4].clamp(max=1), image)
    regions = replace(regions, geometry=given["image_loc"][image])
    inputs = Inputs(text=Tokens.padded(given["input_ids"], real), regions=regions)
    *_, last = system.hidden_states(inputs)
    encoded = system(inputs)
    return {
        "image_embedding": Answer(system.encoder.embed.regions(regions), image),
        "sequence_output": Answer(last.x, torch.cat([image, real], 1)),
        "pooled_output": Answer(encoded.pooled),
        "itm_logit": Answer(system.head("image-text-matching")(encoded.pooled)[:, 1:]),
    }


CASES = {"xuniter": xuniter, "uc2": uc2, "m3p": m3p}
"""What each golden case compares."""
