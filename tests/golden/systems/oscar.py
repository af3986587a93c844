"""Oscar and Oscar+ against the released code of Li et al. (2020) and Zhang et al. (2021)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.caption_mask import CausalCaption
from mm_kptm.vision.objectives.masked_captions import MaskedCaptions
from mm_kptm.vision.objectives.part_contrast import PartContrastBatch, TagContrast
from tests.golden.case import Answer, Case


class Given:
    """The official tensors as inputs of ours; the two images of a pair are sequences of their own."""

    def __init__(self, case: Case) -> None:
        paired = case.kind.startswith("nlvr2")
        self.tensors = {
            name: tensor.flatten(0, 1) if paired and name != "labels" else tensor
            for name, tensor in case.inputs.items()
        }
        self.joint = self.tensors["attention_mask"].bool()
        width = self.tensors["input_ids"].shape[1]
        self.text, self.regions = self.joint[:, :width], self.joint[:, width:]

    def inputs(self, ids: str = "input_ids") -> Inputs:
        given = self.tensors
        return Inputs(
            text=Tokens.padded(given[ids], self.text, segments=given["token_type_ids"]),
            regions=regions_of(given["img_feats"], self.regions),
        )


def regions_of(features: Tensor, real: Tensor) -> Regions:
    """Published features end in x1, y1, x2, y2, width and height."""
    return Regions.padded(features[..., :-6], features[..., -6:-2], real)


def loaded(case: Case, **heads: dict[str, Any]) -> System:
    """The system of a case with these heads (underscores for dashes)."""
    name = "oscar-plus" if case.config.get("use_img_layernorm") else "oscar"
    return mm_kptm.load(name, case.folder, heads={head.replace("_", "-"): heads[head] for head in heads})


def pretrain(case: Case) -> dict[str, Answer]:
    classes = case.config.get("num_contrast_classes", 2)
    system = loaded(case, masked_tokens={}, tag_contrast={"num_classes": classes})
    given = Given(case)
    inputs, covered = given.inputs(), given.inputs("masked_input_ids")
    depths = list(system.hidden_states(inputs))
    encoded = system(covered)
    words = system.head("masked-tokens")
    contrast = system.head("tag-contrast")(encoded.pooled)
    labels = given.tensors["masked_lm_labels"][:, : given.text.shape[1]][given.text]
    rows = (labels != -1).nonzero().squeeze(1)
    owners = covered.text.layout.sequence_ids(rows.device)[rows]
    batch = PartContrastBatch(covered, rows, labels[rows], owners, given.tensors["next_sentence_label"])
    objective = TagContrast(Masking(mask_id=4, pool=(5, 6), never=frozenset()))
    return {
        **{f"hidden.{depth}": Answer(stream.x, given.joint) for depth, stream in enumerate(depths)},
        "pooled": Answer(system(inputs).pooled),
        "masked.prediction_scores": Answer(words(list(system.hidden_states(covered))[-1].x), given.joint),
        "masked.seq_relationship_score": Answer(contrast),
        "loss": Answer(objective.loss(system, batch).reshape(1)),
        "masked_lm_loss": Answer(objective.losses(system, batch)[0].mean().reshape(1)),
    }


def vqa(case: Case) -> dict[str, Answer]:
    truth = case.inputs["labels"]
    system = loaded(case, vqa={"num_answers": truth.shape[1]})
    scores = system.head("vqa")(system(Given(case).inputs()).pooled)
    loss = F.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(1).mean()
    return {"logits": Answer(scores), "loss": Answer(loss.reshape(1))}


def retrieval(case: Case) -> dict[str, Answer]:
    system = loaded(case, image_text_matching={})
    scores = system.head("image-text-matching")(system(Given(case).inputs()).pooled)
    loss = F.cross_entropy(scores, case.inputs["labels"])
    return {"logits": Answer(scores), "loss": Answer(loss.reshape(1))}


def nlvr2(case: Case) -> dict[str, Answer]:
    system = loaded(case, nlvr2={"inner_scale": case.config["cls_hidden_scale"]})
    scores = system.head("nlvr2")(system(Given(case).inputs()).pooled)
    loss = F.cross_entropy(scores, case.inputs["labels"])
    return {"logits": Answer(scores), "loss": Answer(loss.reshape(1))}


def captioning(case: Case) -> dict[str, Answer]:
    """What is real is read off the official mask: a real position sees itself, and an image sees its own regions."""
    given = case.inputs
    ids = given["caption_ids"]
    real = given["attention_mask_2d"].diagonal(dim1=1, dim2=2).bool()
    words, seen = real[:, : ids.shape[1]], real[:, ids.shape[1] :]
    text = Tokens.padded(ids, words, segments=given["caption_token_type_ids"])
    text = replace(text, attention_mask=CausalCaption(text.segments == 0))
    objective = MaskedCaptions(
        Masking(mask_id=4, pool=(5, 6), never=frozenset()), smoothing=case.config["label_smoothing"]
    )
    system = loaded(case, masked_tokens={})
    rows = given["masked_pos"].bool()[words].nonzero().squeeze(1)
    inputs = Inputs(text=text, regions=regions_of(given["img_feats"], seen))
    scores = system.head("masked-tokens")(system(inputs).text[rows])
    counts = given["masked_pos"].sum(1, keepdim=True)
    labels = given["masked_ids"][torch.arange(given["masked_ids"].shape[1]) < counts]
    batch = RowTargets(inputs, rows, labels, text.layout.sequence_ids(rows.device)[rows])
    return {"class_logits": Answer(scores), "loss": Answer(objective.loss(system, batch).reshape(1))}


CASES = {
    "pretrain": pretrain,
    "pretrain_plus": pretrain,
    "vqa": vqa,
    "retrieval": retrieval,
    "nlvr2": nlvr2,
    "nlvr2_plus": nlvr2,
    "captioning": captioning,
}
