"""VisualBERT against the released code of Li et al. (2019)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens, layout_of
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.mask_readout import answer_mask_rows
from mm_kptm.vision.objectives.part_contrast import PartContrastBatch, SentenceImagePrediction
from mm_kptm.vision.objectives.soft_targets import answer_kl, phrase_kl
from tests.golden.case import Answer, Case


class Given:
    """The official tensors as inputs of ours; choices of one question are texts of their own."""

    def __init__(self, case: Case) -> None:
        self.tensors = {
            name: tensor.flatten(0, 1) if case.kind == "vcr" and tensor.dim() > 2 else tensor
            for name, tensor in case.inputs.items()
        }
        self.text = self.tensors["input_mask"].bool()
        self.regions = self.tensors["image_mask"].bool()
        self.joint = torch.cat([self.text, self.regions], dim=1)

    def inputs(self, ids: str = "input_ids") -> Inputs:
        given, real = self.tensors, self.regions
        words = given.get("image_text_alignment")
        regions = Regions(
            given["visual_embeddings"][real],
            torch.zeros(int(real.sum()), 4),
            layout_of(real),
            segments=given["visual_embeddings_type"][real] if "visual_embeddings_type" in given else None,
            words=None if words is None else words[real],
        )
        return Inputs(text=Tokens.padded(given[ids], self.text, segments=given["token_type_ids"]), regions=regions)


def loaded(case: Case, **heads: dict[str, Any]) -> System:
    """The system of a case with these heads (underscores for dashes)."""
    return mm_kptm.load("visualbert", case.folder, heads={name.replace("_", "-"): heads[name] for name in heads})


def last(system: System, inputs: Inputs) -> Tensor:
    """The final states of text and regions."""
    states: Tensor = list(system.hidden_states(inputs))[-1].x
    return states


def pretrain(case: Case) -> dict[str, Answer]:
    system = loaded(case, masked_tokens={}, image_text_matching={})
    given = Given(case)
    inputs, covered = given.inputs(), given.inputs("masked_input_ids")
    depths = list(system.hidden_states(inputs))
    encoded = system(covered)
    scores = system.head("masked-tokens")(last(system, covered))
    matching = system.head("image-text-matching")(encoded.pooled)
    labels = given.tensors["masked_lm_labels"][given.text]
    rows = (labels != -1).nonzero().squeeze(1)
    owners = covered.text.layout.sequence_ids(rows.device)[rows]
    batch = PartContrastBatch(covered, rows, labels[rows], owners, given.tensors["is_random_next"].flatten())
    objective = SentenceImagePrediction(Masking(mask_id=4, pool=(5, 6), never=frozenset()))
    words, pairs = objective.losses(system, batch)
    return {
        "embeddings": Answer(depths[0].x, given.joint),
        **{f"hidden.{depth}": Answer(stream.x, given.joint) for depth, stream in enumerate(depths[1:])},
        "pooled": Answer(system(inputs).pooled),
        "masked.logits": Answer(scores, given.joint),
        "masked.seq_relationship_score": Answer(matching),
        "masked_lm_loss": Answer(words.mean().reshape(1)),
        "next_sentence_loss": Answer(pairs.mean().reshape(1)),
        "loss": Answer(objective.loss(system, batch).reshape(1)),
    }


def vqa(case: Case) -> dict[str, Answer]:
    truth = case.inputs["label"]
    system = loaded(case, vqa_at_mask={"num_answers": truth.shape[1]})
    given = Given(case)
    inputs = given.inputs()
    slots = answer_mask_rows(inputs.text.layout, truth.device)
    scores = system.head("vqa-at-mask")(system(inputs).text[slots])
    return {
        "sequence": Answer(last(system, inputs), given.joint),
        "logits": Answer(scores.unsqueeze(1)),
        "loss": Answer(answer_kl(scores, truth).mean().reshape(1)),
    }


def nlvr2(case: Case) -> dict[str, Answer]:
    system = loaded(case, nlvr2={})
    given = Given(case)
    inputs = given.inputs()
    pooled = system(inputs).pooled
    scores = system.head("nlvr2")(pooled)
    return {
        "sequence": Answer(last(system, inputs), given.joint),
        "pooled": Answer(pooled),
        "logits": Answer(scores),
        "loss": Answer(F.cross_entropy(scores, given.tensors["label"]).reshape(1)),
    }


def vcr(case: Case) -> dict[str, Answer]:
    system = loaded(case, vcr={})
    given = Given(case)
    inputs = given.inputs()
    scores = system.head("vcr")(system(inputs).pooled).view(case.inputs["input_ids"].shape[:2])
    return {
        "embeddings": Answer(next(system.hidden_states(inputs)).x, given.joint),
        "logits": Answer(scores),
        "loss": Answer(F.cross_entropy(scores, given.tensors["label"]).reshape(1)),
    }


def flickr(case: Case) -> dict[str, Answer]:
    system = loaded(case, masked_tokens={}, image_text_matching={}, phrase_grounding={})
    given = Given(case)
    inputs = given.inputs()
    encoded = system(inputs)
    places, targets = given.tensors["flickr_position"], given.tensors["flickr_label"]
    phrases = places >= 0
    asked, shown = layout_of(phrases), inputs.regions.layout
    rows = (inputs.text.layout.starts(places.device)[:, None] + places)[phrases]
    scores = system.head("phrase-grounding")(encoded.text[rows], encoded.regions, asked, shown)
    seen = given.regions[:, None] & phrases[..., None]
    wanted = torch.zeros_like(scores)
    wanted[scores > float("-inf")] = targets[seen]
    losses = phrase_kl(scores, wanted)
    return {
        "sequence": Answer(last(system, inputs), given.joint),
        "scores": Answer(scores[scores > float("-inf")], seen),
        "loss": Answer((losses.sum() / len(places)).reshape(1)),
    }


CASES = {"pretrain": pretrain, "vqa": vqa, "nlvr2": nlvr2, "vcr": vcr, "flickr": flickr}
