"""VL-BERT against the released code of Su et al. (2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens, layout_of, pad
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.mask_readout import answer_mask_rows
from mm_kptm.vision.modules.single_stream.vl_bert_embedding import REGION_LABEL
from mm_kptm.vision.objectives.vl_bert import (
    Reduction,
    VlBertBatch,
    VlBertPretraining,
    mean_over_examples,
    mean_over_predictions,
)
from tests.golden.case import Answer, Case

CLS, SEP, MASK = 2, 3, 4


def loaded(case: Case, **heads: dict[str, Any]) -> System:
    """The system of a case with these heads (underscores for dashes); region 0 is the whole image."""
    named = {name.replace("_", "-"): chosen for name, chosen in heads.items()}
    return mm_kptm.load("vl-bert", case.folder, heads=named, whole_image="first")


def image(case: Case) -> tuple[Regions, Tensor]:
    """The regions of a case, and where they are real."""
    given = case.inputs
    boxes = given["boxes"]
    real = boxes[..., 0] > -1.5
    size = given["im_info"][:, None, [0, 1, 0, 1]]
    masked = given["mvrc_ops"].bool() if "mvrc_ops" in given else None
    return Regions.padded(boxes[..., 4:], boxes[..., :4] / size, real, masked=masked), real


def states(case: Case, system: System, inputs: Inputs, text: Tensor, real: Tensor) -> dict[str, Answer]:
    """What the official encoder is asked in every case; the joint sequence is padded as the official one is."""
    width = case.outputs["joint_mask"].shape[1]
    embedded = next(system.hidden_states(inputs))
    encoded = system(inputs)
    joint = pad(torch.ones(embedded.layout.total), embedded.layout, length=width).bool()
    return {
        "joint_embedding": Answer(embedded.x, joint),
        "joint_mask": Answer(joint),
        "hidden_text": Answer(encoded.text, text),
        "hidden_object": Answer(encoded.regions, real),
        **({"pooled": Answer(encoded.pooled)} if "pooled" in case.outputs else {}),
    }


def stacked(caption: Answer, alone: Answer) -> Answer:
    """Captions first, then texts alone; the places of both are padded alike."""
    if caption.where is None or alone.where is None:
        return Answer(torch.cat([caption.ours, alone.ours]))
    return Answer(torch.cat([caption.ours, alone.ours]), torch.cat([caption.where, alone.where]))


def labelled(labels: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Masked token rows, what stood there, and the example of each."""
    flat = labels[text]
    rows = (flat != -1).nonzero().squeeze(1)
    return rows, flat[rows], layout_of(text).sequence_ids(rows.device)[rows]


def puzzle_of(case: Case, inputs: Inputs, text: Tensor, real: Tensor) -> VlBertBatch:
    given = case.inputs
    rows, labels, owners = labelled(given["mlm_labels"], text)
    classes = given["mvrc_labels"][real]
    named = ((classes.sum(1) - 1).abs() < 0.1).nonzero().squeeze(1)
    region_sequence_ids = layout_of(real).sequence_ids(named.device)[named]
    return VlBertBatch(inputs, rows, labels, owners, named, classes[named], region_sequence_ids)


def objective(reduction: Reduction, *, matching: bool) -> VlBertPretraining:
    masking = Masking(mask_id=MASK, pool=(5, 6), never=frozenset())
    return VlBertPretraining(masking, matching=ImageTextMatching() if matching else None, reduction=reduction)


def multitask(case: Case) -> dict[str, Answer]:
    given = case.inputs
    classes = given["mvrc_labels"].shape[-1]
    system = loaded(case, masked_tokens={}, masked_region_classes={"num_classes": classes})
    regions, real = image(case)
    text, aux = given["text"] > 0, given["aux_text"] > 0
    max_length = max(text.shape[1], aux.shape[1])
    text_wide, aux_wide = (F.pad(where, (0, max_length - where.shape[1])) for where in (text, aux))
    captions = Inputs(text=Tokens.padded(given["text"], text), regions=regions)
    alone = Inputs(text=Tokens.padded(given["aux_text"], aux))
    none = torch.zeros(len(aux), real.shape[1], dtype=torch.bool)
    first = states(case, system, captions, text_wide, real)
    second = states(case, system, alone, aux_wide, none)
    words, named = system.head("masked-tokens"), system.head("masked-region-classes")
    batch = puzzle_of(case, captions, text, real)
    rows, labels, owners = labelled(given["aux_mlm_labels"], aux)
    texts = VlBertBatch(alone, rows, labels, owners, rows[:0], torch.zeros(0, classes), rows[:0])
    chosen = objective(mean_over_predictions, matching=False)
    parts, text_parts = chosen.parts(system, batch), chosen.parts(system, texts)
    return {
        "obj_reps": Answer(system.encoder.embed.regions(regions), real),
        **{name: stacked(first[name], second[name]) for name in first},
        "mlm_logits_wvc": Answer(words(first["hidden_text"].ours), text_wide),
        "mlm_logits_aux": Answer(words(second["hidden_text"].ours), aux_wide),
        "mvrc_logits": Answer(named(first["hidden_object"].ours), real),
        "mlm_loss_wvc": Answer(parts["masked-tokens"].reshape(1)),
        "mlm_loss_aux": Answer(text_parts["masked-tokens"].reshape(1)),
        "mvrc_loss": Answer(parts["masked-region-classes"].reshape(1)),
        "total_loss": Answer((chosen.loss(system, batch) + chosen.loss(system, texts)).reshape(1)),
    }


def rel(case: Case) -> dict[str, Answer]:
    given = case.inputs
    classes = given["mvrc_labels"].shape[-1]
    system = loaded(case, masked_tokens={}, masked_region_classes={"num_classes": classes}, image_text_matching={})
    regions, real = image(case)
    text = given["text"] > 0
    inputs = Inputs(text=Tokens.padded(given["text"], text), regions=regions)
    answers = states(case, system, inputs, text, real)
    batch = replace(puzzle_of(case, inputs, text, real), matched=given["relationship_label"])
    per_example = case.config["NETWORK"]["MLM_LOSS_NORM_IN_BATCH_FIRST"]
    chosen = objective(mean_over_examples if per_example else mean_over_predictions, matching=True)
    parts = chosen.parts(system, batch)
    return {
        "obj_reps": Answer(system.encoder.embed.regions(regions), real),
        **answers,
        "mlm_logits": Answer(system.head("masked-tokens")(answers["hidden_text"].ours), text),
        "mvrc_logits": Answer(system.head("masked-region-classes")(answers["hidden_object"].ours), real),
        "relationship_logits": Answer(system.head("image-text-matching")(system(inputs).pooled)),
        "mlm_loss": Answer(parts["masked-tokens"].reshape(1)),
        "mvrc_loss": Answer(parts["masked-region-classes"].reshape(1)),
        "relationship_loss": Answer(parts["image-text-matching"].reshape(1)),
        "total_loss": Answer(chosen.loss(system, batch).reshape(1)),
    }


def built(sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]], width: int) -> tuple[Tokens, Tensor]:
    """Tokens from lists, and where they are real when padded to a width."""
    tokens = Tokens.of(sequences, segments=segments)
    return tokens, pad(torch.ones(tokens.rows), tokens.layout, length=width).bool()


def vqa(case: Case) -> dict[str, Answer]:
    truth = case.inputs["label"]
    system = loaded(case, vqa_at_mask={"num_answers": truth.shape[1]})
    regions, real = image(case)
    questions = [[id for id in question if id] for question in case.inputs["question"].tolist()]
    texts = [[CLS, *question, SEP, MASK, SEP] for question in questions]
    segments = [[0] * (len(question) + 2) + [1, 1] for question in questions]
    tokens, text = built(texts, segments, case.outputs["hidden_text"].shape[1])
    inputs = Inputs(text=tokens, regions=regions)
    answers = states(case, system, inputs, text, real)
    slots = answer_mask_rows(tokens.layout, truth.device)
    scores = system.head("vqa-at-mask")(answers["hidden_text"].ours[slots])
    loss = F.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(1).mean()
    return {
        "obj_reps": Answer(system.encoder.embed.regions(regions), real),
        **answers,
        "label_logits": Answer(scores),
        "ans_loss": Answer(loss.reshape(1)),
    }


def refcoco(case: Case) -> dict[str, Answer]:
    system = loaded(case, grounding={})
    regions, real = image(case)
    texts = [[CLS, *(id for id in expression if id), SEP] for expression in case.inputs["expression"].tolist()]
    tokens, text = built(texts, [[0] * len(ids) for ids in texts], case.outputs["hidden_text"].shape[1])
    answers = states(case, system, Inputs(text=tokens, regions=regions), text, real)
    scores = system.head("grounding")(answers["hidden_object"].ours).squeeze(1)
    loss = F.binary_cross_entropy_with_logits(scores, case.inputs["label"][real])
    return {
        "obj_reps": Answer(system.encoder.embed.regions(regions), real),
        **answers,
        "label_logits": Answer(scores, real),
        "cls_loss": Answer(loss.reshape(1)),
    }


def vcr(case: Case) -> dict[str, Answer]:
    """The four choices of a question share its image, which is held once."""
    given = case.inputs
    system = loaded(case, vcr={}, region_objects={})
    boxes = given["boxes"]
    real = boxes[..., 3] > -0.5
    corners = boxes[..., :4] / boxes[:, :1, [2, 3, 2, 3]].clamp(min=1)
    regions = Regions(given["obj_reps"][real], corners[real], layout_of(real))
    number, choices = given["answer_choices"].shape[:2]
    texts, segments, marks = [], [], []
    for question, answers in zip(given["question"].tolist(), given["answer_choices"].tolist(), strict=True):
        asked = [word for word in question if word[0]]
        for answer in answers:
            said = [word for word in answer if word[0]]
            texts.append([CLS, *(id for id, _ in asked), SEP, *(id for id, _ in said), SEP])
            segments.append([0] * (len(asked) + 2) + [1] * (len(said) + 1))
            marks.append(torch.tensor([0, *(region for _, region in asked), 0, *(region for _, region in said), 0]))
    tokens, text = built(texts, segments, case.outputs["hidden_text"].shape[2])
    tokens = replace(tokens, token_labels={REGION_LABEL: torch.cat(marks)})
    image_of = torch.arange(number).repeat_interleave(choices)
    encoded = system(Inputs(text=tokens, regions=regions, image_of=image_of))
    seen = real[image_of]
    scores = system.head("vcr")(encoded.pooled).view(number, choices)
    right = F.one_hot(given["label"], choices).float()
    loss = F.binary_cross_entropy_with_logits(scores, right)
    objects = system.head("region-objects")(encoded.regions)
    auxiliary = F.cross_entropy(objects, boxes[..., 4][image_of][seen].long())
    return {
        "hidden_text": Answer(encoded.text, text.view(number, choices, -1)),
        "hidden_object": Answer(encoded.regions, seen.view(number, choices, -1)),
        "pooled": Answer(encoded.pooled.view(number, choices, -1)),
        "label_logits": Answer(scores),
        "ans_loss": Answer(loss.reshape(1)),
        "cnn_regularization_loss": Answer(auxiliary.reshape(1)),
        "total_loss": Answer((loss + auxiliary).reshape(1)),
    }


CASES = {
    "pretrain_multitask": multitask,
    "pretrain_rel": rel,
    "vqa": vqa,
    "refcoco": refcoco,
    "vcr": vcr,
}
