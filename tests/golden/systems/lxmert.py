"""LXMERT against the released code of Tan and Bansal (2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Detected, Inputs, Regions, Tokens
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.lxmert import LxmertBatch, LxmertPretraining
from mm_kptm.vision.objectives.masked_objects import ObjectTargets
from tests.golden.case import Answer, Case


def loaded(case: Case, **heads: dict[str, Any]) -> System:
    """The system of a case; the numbers of layers stand apart from the official configuration."""
    visual = case.config["_visual_config"]
    sizes = {"num_layers": "l_layers", "num_region_layers": "r_layers", "num_cross_layers": "x_layers"}
    named = {name.replace("_", "-"): chosen for name, chosen in heads.items()}
    return mm_kptm.load("lxmert", case.folder, heads=named, **{ours: visual[name] for ours, name in sizes.items()})


def text(case: Case, ids: str = "input_ids") -> tuple[Tokens, Tensor]:
    """The text of a case, and where it is real."""
    given = case.inputs
    real = given["attention_mask"].bool()
    return Tokens.padded(given[ids], real, segments=given["token_type_ids"]), real


def every(features: Tensor) -> Tensor:
    """All places real: the official code pads no image."""
    return torch.ones(features.shape[:2], dtype=torch.bool)


def pretrain(case: Case) -> dict[str, Answer]:
    visual = case.config["_visual_config"]
    system = loaded(
        case,
        masked_tokens={},
        image_text_matching={},
        masked_objects={"num_objects": visual["obj_id_num"], "num_attributes": visual["attr_id_num"]},
        question_answering={"num_answers": case.config["_fixture"]["num_answers"]},
    )
    given = case.inputs
    words, real = text(case)
    features = given["visual_feats"]
    seen = given["visual_attention_mask"].bool()
    inputs = Inputs(text=words, regions=Regions.padded(features, given["pos"], every(features)))
    encoded = system(inputs)
    some = system(inputs.with_streams(regions=Regions.padded(features, given["pos"], seen)))
    depths = dict(zip(["embedded", *system.encoder.steps], system.hidden_states(inputs), strict=True))
    named = {}
    for name, pair in depths.items():
        kind, _, number = name.partition("-")
        left, right = Answer(pair.left.x, real), Answer(pair.right.x, every(features))
        if kind == "text":
            named[f"lang_layer.{number}"] = left
        elif kind == "regions":
            named[f"rel_layer.{number}"] = right
        elif kind == "after":
            named |= {f"cross_layer.{number}.lang": left, f"cross_layer.{number}.visn": right}
    return {
        "text_embeddings": Answer(depths["embedded"].left.x, real),
        "visual_embeddings": Answer(depths["embedded"].right.x, every(features)),
        **named,
        "lang_output": Answer(encoded.text, real),
        "visn_output": Answer(encoded.regions, every(features)),
        "pooled": Answer(encoded.pooled),
        "lang_output_vmask": Answer(some.text, real),
        "visn_output_vmask": Answer(some.regions, seen),
        "pooled_vmask": Answer(some.pooled),
        **masked(case, system),
    }


def masked(case: Case, system: System) -> dict[str, Answer]:
    given = case.inputs
    covered = given["masked_visual_feats"]
    whole = every(covered)
    words, real = text(case, "mlm_input_ids")
    inputs = Inputs(text=words, regions=Regions.padded(covered, given["pos"], whole))
    labels = given["masked_lm_labels"][real]
    rows = (labels != -1).nonzero().squeeze(1)
    targets = ObjectTargets(
        objects=Detected(given["obj_labels"][whole], given["obj_conf"][whole]),
        attributes=Detected(given["attr_labels"][whole], given["attr_conf"][whole]),
        features=given["visual_feats"][whole],
        hidden=given["feat_mask"][whole].bool(),
        sequence_ids=inputs.regions.layout.sequence_ids(covered.device),
    )
    owners = words.layout.sequence_ids(rows.device)[rows]
    batch = LxmertBatch(inputs, given["matched_label"], rows, labels[rows], owners, targets, given["ans"])
    objective = LxmertPretraining(Masking(mask_id=4, pool=(5, 6), never=frozenset()))
    encoded = system(inputs)
    scores = system.head("masked-objects")(encoded.regions).split(system.head("masked-objects").widths, dim=1)
    return {
        "masked.lm_scores": Answer(system.head("masked-tokens")(encoded.text), real),
        "masked.matched_scores": Answer(system.head("image-text-matching")(encoded.pooled)),
        **{f"masked.{name}": Answer(x, whole) for name, x in zip(("obj", "attr", "feat"), scores, strict=True)},
        "masked.answer_scores": Answer(system.head("question-answering")(encoded.pooled)),
        "losses": Answer(torch.stack(list(objective.parts(system, batch).values()))),
        "total_loss": Answer(objective.loss(system, batch).reshape(1)),
    }


def vqa(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = loaded(case, vqa={"num_answers": case.config["_fixture"]["num_answers"]})
    features = given["visual_feats"]
    inputs = Inputs(text=text(case)[0], regions=Regions.padded(features, given["pos"], every(features)))
    pooled = system(inputs).pooled
    scores = system.head("vqa")(pooled)
    loss = F.binary_cross_entropy_with_logits(scores, given["targets"], reduction="sum") / len(scores)
    return {"pooled": Answer(pooled), "logit": Answer(scores), "loss": Answer(loss.reshape(1))}


def nlvr2(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = loaded(case, nlvr2={})
    twice = {name: given[name].repeat_interleave(2, dim=0) for name in ("input_ids", "token_type_ids")}
    words = Tokens.padded(
        twice["input_ids"],
        given["attention_mask"].repeat_interleave(2, dim=0),
        segments=twice["token_type_ids"],
    )
    features, boxes = given["feat"].flatten(0, 1), given["nl_pos"].flatten(0, 1)
    inputs = Inputs(text=words, regions=Regions.padded(features, boxes, every(features)))
    scores = system.head("nlvr2")(system(inputs).pooled)
    return {"logit": Answer(scores), "loss": Answer(F.cross_entropy(scores, given["labels"]).reshape(1))}


CASES = {"pretrain": pretrain, "vqa": vqa, "nlvr2": nlvr2}
