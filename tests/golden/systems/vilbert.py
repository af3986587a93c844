"""ViLBERT and 12-in-1 against the released code of Lu et al. (2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.region_targets import RegionTruths
from mm_kptm.vision.objectives.vilbert import VilbertBatch, VilbertPretraining, region_losses
from tests.golden.case import Answer, Case

TARGET = {0: "distributions", 1: "features"}


def loaded(case: Case, heads: dict[str, dict[str, Any]], name: str = "vilbert") -> System:
    return mm_kptm.load(name, case.folder, heads=heads)


class Given:
    """The official tensors of a case as inputs of ours: row 0 of the regions, the whole image, is handed in apart."""

    def __init__(self, case: Case) -> None:
        self.tensors = given = case.inputs
        self.text, self.image = given["attention_mask"].bool(), given["image_attention_mask"].bool()

    def inputs(self, ids: str = "input_ids", features: str = "image_feat") -> Inputs:
        given = self.tensors
        text = Tokens.padded(given[ids], self.text, segments=given["token_type_ids"])
        if "task_ids" in given:
            text = replace(text, tasks=given["task_ids"].expand_as(self.text)[self.text])
        boxes, rows = given["image_loc"][:, 1:, :4], given[features]
        regions = Regions.padded(rows[:, 1:], boxes, self.image[:, 1:])
        return Inputs(text=text, regions=replace(regions, whole_image=rows[:, 0]))


def pooled(system: System, given: Given, tokens: Tensor, regions: Tensor) -> dict[str, Answer]:
    """The two pooled vectors from the final states of both streams, the whole image's among them."""
    pooler = system.encoder.pooler
    text = given.text.sum(1) + (len(tokens) - given.text.sum()) // len(given.text)  # a task is one more row
    firsts, wholes = (counts.cumsum(0) - counts for counts in (text, given.image.sum(1)))
    return {
        "pooled_t": Answer(pooler.of_text(tokens[firsts])),
        "pooled_v": Answer(pooler.of_regions(regions[wholes])),
    }


def pretrain(case: Case) -> dict[str, Answer]:
    target = TARGET[case.config["visual_target"]]
    heads: dict[str, dict[str, Any]] = {"masked-tokens": {}, "image-text-matching": {}}
    sizes = {"target": target} | ({"num_classes": case.config["v_target_size"]} if target == "distributions" else {})
    system = loaded(case, {**heads, "masked-regions": sizes})
    given = Given(case)
    inputs = given.inputs()
    depths = dict(zip(["embedded", *system.encoder.steps], system.hidden_states(inputs), strict=True))
    named = {}
    for name, pair in depths.items():
        kind, _, number = name.partition("-")
        left, right = Answer(pair.left.x, given.text), Answer(pair.right.x, given.image)
        if kind == "text":
            named[f"layer.{number}"] = left
        elif kind == "regions":
            named[f"v_layer.{number}"] = right
        elif kind == "cross":
            named |= {f"c_layer.{number}.t": left, f"c_layer.{number}.v": right}
    last = list(depths.values())[-1]
    depths_told = {
        "text_embeddings": Answer(depths["embedded"].left.x, given.text),
        "image_embeddings": Answer(depths["embedded"].right.x, given.image),
        **named,
    }
    return {
        **(depths_told if "text_embeddings" in case.outputs else {}),  # two of the three cases are without
        "sequence_t": Answer(last.left.x, given.text),
        "sequence_v": Answer(last.right.x, given.image),
        **pooled(system, given, last.left.x, last.right.x),
        **masked(system, given, target),
    }


def masked(system: System, given: Given, target: str) -> dict[str, Answer]:
    tensors = given.tensors
    inputs = given.inputs("mlm.input_ids", "mlm.image_feat")
    labels = tensors["mlm.lm_label_ids"][given.text]
    hidden = tensors["mlm.image_label"][given.image[:, 1:]] == 1
    rows, regions = (labels != -1).nonzero().squeeze(1), hidden.nonzero().squeeze(1)
    boxes = given.image[:, 1:]
    seen = {
        "features": tensors.get("mlm.image_target_feat", tensors["image_feat"][:, 1:])[boxes][regions],
        "classes": tensors["mlm.image_target"][boxes][regions] if "mlm.image_target" in tensors else None,
    }
    batch = VilbertBatch(
        inputs,
        matched=1 - tensors["mlm.next_sentence_label"],
        rows=rows,
        labels=labels[rows],
        sequence_ids=inputs.text.layout.sequence_ids(rows.device)[rows],
        regions=regions,
        truths=RegionTruths(**seen),
        region_sequence_ids=inputs.regions.layout.sequence_ids(rows.device)[regions],
    )
    parts = VilbertPretraining(targets={target: 1.0}).parts(system, batch)
    encoded, last = system(inputs), list(system.hidden_states(inputs))[-1]
    return {
        "mlm.scores": Answer(system.head("masked-tokens")(encoded.text), given.text),
        "mlm.image_scores": Answer(system.head("masked-regions").by_target(last.right.x)[target], given.image),
        "mlm.relationship": Answer(system.head("image-text-matching")(encoded.pooled).flip(1)),
        "mlm.loss_text": Answer(parts["masked-tokens"].reshape(1)),
        "mlm.loss_image": Answer(parts[target].reshape(1)),
        "mlm.loss_match": Answer(parts["image-text-matching"].reshape(1)),
    }


def vl_tasks(case: Case) -> dict[str, Answer]:
    fixture, config = case.config["_fixture"], case.config
    heads: dict[str, dict[str, Any]] = {
        "masked-tokens": {},
        "masked-regions": {"num_classes": config["v_target_size"]},
        "vqa": {"num_answers": fixture["vqa_answers"]},
        "gqa": {"num_answers": fixture["gqa_answers"]},
    }
    single = ("nlvr2", "retrieval", "visual-entailment", "grounding", "token-scores")
    system = loaded(case, heads | {name: {} for name in single}, "12-in-1")
    given = Given(case)
    inputs = given.inputs()
    encoded, last = system(inputs), list(system.hidden_states(inputs))[-1]
    tokens, regions = last.left.x, last.right.x  # with the task of every text, and with the whole image
    longer = torch.cat([torch.ones_like(given.text[:, :1]), given.text], 1)
    grid = torch.full((*given.image.shape, 1), -1e4)
    grid[given.image] = system.head("grounding")(regions)
    scores = system.head("vqa")(encoded.pooled)
    answers = {
        "vil_prediction": Answer(scores),
        "vil_prediction_gqa": Answer(system.head("gqa")(encoded.pooled)),
        "vil_logit": Answer(system.head("retrieval")(encoded.pooled)),
        "vil_tri_prediction": Answer(system.head("visual-entailment")(encoded.pooled)),
        "vision_prediction": Answer(system.head("masked-regions")(regions), given.image),
        "vision_logit": Answer(grid[given.image], given.image),
        "linguisic_prediction": Answer(system.head("masked-tokens")(tokens), longer),
        "linguisic_logit": Answer(system.head("token-scores")(tokens), longer),
        "sequence_t": Answer(tokens, longer),
        "sequence_v": Answer(regions, given.image),
        **pooled(system, given, tokens, regions),
    }
    if len(inputs) % 2 == 0:
        answers["vil_binary_prediction"] = Answer(system.head("nlvr2")(encoded.pooled))
    loss = F.binary_cross_entropy_with_logits(scores, given.tensors["vqa_target"]) * scores.shape[1]
    targets = given.tensors["region_target"][given.image].squeeze(1)
    each = region_losses(system.head("grounding")(regions).squeeze(1), last.right.layout, targets)
    return answers | {"vqa_loss": Answer(loss.reshape(1)), "region_loss": Answer(each.mean().reshape(1))}


CASES = {
    "pretrain": pretrain,
    "pretrain_dynamic": pretrain,
    "pretrain_featreg_sum": pretrain,
    "vl_tasks": vl_tasks,
}
