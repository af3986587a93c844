"""VOLTA's controlled models against the released code of Bugliarello et al. (2021)."""

from __future__ import annotations

from typing import Any

import mm_kptm
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.region_targets import TARGETS, RegionTruths
from mm_kptm.vision.objectives.vilbert import VilbertBatch, VilbertPretraining
from tests.golden.case import Answer, Case
from tests.golden.systems.vilbert import Given, pooled


def loaded(case: Case) -> tuple[System, dict[str, float]]:
    """The system of a case, and the weight of what it predicts of regions."""
    config = case.config
    weights = {list(TARGETS)[int(number)]: weight for number, weight in config["visual_target_weights"].items()}
    regions: dict[str, Any] = {"targets": " ".join(weights), "num_classes": config["_fixture"]["region_classes"]}
    regions["normalized"] = config.get("image_head_ln", True)
    more = {}
    if config["image_embeddings"] == "vl-bert":  # the official loader pads images, and that changes its words
        more["num_slots"] = case.inputs["image_feat"].shape[1]
    heads = {"masked-tokens": {}, "image-text-matching": {}, "masked-regions": regions}
    return mm_kptm.load(f"volta-{config['image_embeddings']}", case.folder, heads=heads, **more), weights


def controlled(case: Case) -> dict[str, Answer]:
    system, weights = loaded(case)
    given = Given(case)
    inputs = given.inputs()
    depths = list(system.hidden_states(inputs))
    named = {}
    for number, pair in enumerate(depths[1:]):
        named[f"sub.{number}.t"] = Answer(pair.left.x, given.text)
        named[f"sub.{number}.v"] = Answer(pair.right.x, given.image)
    return {
        "embeddings_t": Answer(depths[0].left.x, given.text),
        "embeddings_v": Answer(depths[0].right.x, given.image),
        **named,
        **pooled(system, given, depths[-1].left.x, depths[-1].right.x),
        **masked(system, given, weights),
    }


def masked(system: System, given: Given, weights: dict[str, float]) -> dict[str, Answer]:
    tensors = given.tensors
    inputs = given.inputs("masked_input_ids", "masked_image_feat")
    labels, boxes = tensors["masked_lm_labels"][given.text], given.image[:, 1:]
    rows = (labels != -1).nonzero().squeeze(1)
    regions = (tensors["image_label"][boxes] == 1).nonzero().squeeze(1)
    batch = VilbertBatch(
        inputs,
        matched=1 - tensors["next_sentence_label"],
        rows=rows,
        labels=labels[rows],
        sequence_ids=inputs.text.layout.sequence_ids(rows.device)[rows],
        regions=regions,
        truths=RegionTruths(
            features=tensors["image_feat"][:, 1:][boxes][regions], classes=tensors["image_cls"][boxes][regions]
        ),
        region_sequence_ids=inputs.regions.layout.sequence_ids(rows.device)[regions],
    )
    parts = VilbertPretraining(targets=weights).parts(system, batch)
    encoded, last = system(inputs), list(system.hidden_states(inputs))[-1]
    predicted = system.head("masked-regions").by_target(last.right.x)
    return {
        "masked.prediction_t": Answer(system.head("masked-tokens")(encoded.text), given.text),
        "masked.prediction_v": Answer(next(iter(predicted.values())), given.image),
        "masked.relationship": Answer(system.head("image-text-matching")(encoded.pooled).flip(1)),
        "loss_text": Answer(parts["masked-tokens"].reshape(1)),
        "loss_image": Answer(sum(parts[target] for target in weights).reshape(1)),
        "loss_match": Answer(parts["image-text-matching"].reshape(1)),
    }


CASES = dict.fromkeys(("ctrl_lxmert", "ctrl_uniter", "ctrl_vilbert", "ctrl_visualbert", "ctrl_vl-bert"), controlled)
