"""VLP against the released code of Zhou et al. (2020)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import mm_kptm
from mm_kptm.batch import Detected, Inputs, Regions, SequenceLayout, Tokens, layout_of
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.caption_decoding import Captioning, beam_search, greedy_search
from mm_kptm.vision.objectives.vlp import VlpPretraining, bidirectional_or_seq2seq, region_losses
from tests.golden.case import Answer, Case

MASKING = Masking(mask_id=4, pool=(5, 6), never=frozenset())


class Given:
    """The official tensors of one batch; ``beginning`` stands before their names."""

    def __init__(self, case: Case, beginning: str = "") -> None:
        self.case = case
        self.tensors = {name.removeprefix(beginning): tensor for name, tensor in case.inputs.items()}
        given = self.tensors
        self.count = given["img"].shape[1]
        columns = torch.arange(given["input_ids"].shape[1])
        #: the first key of every text is [CLS]; what some query sees, or is masked as an image, is real
        masked = torch.zeros_like(given["input_ids"], dtype=torch.bool)
        if "vis_masked_pos" in given:
            masked.scatter_(1, given["vis_masked_pos"], value=True)
        self.masked = masked[:, 1 : self.count + 1]
        self.real = given["input_mask"].bool().any(1) | masked
        self.image = (columns > 0) & (columns <= self.count)
        self.written = given["segment_ids"][:, 0] == 4

    def text(self) -> Tokens:
        """[CLS] [SEP] words [SEP]: what is real and no image."""
        ids, real = self.tensors["input_ids"], self.real[:, ~self.image]
        positions = (real.cumsum(1) - 1).clamp(min=0)
        return bidirectional_or_seq2seq(Tokens.padded(ids[:, ~self.image], real, positions=positions), self.written)

    def regions(self) -> Regions:
        features = self.tensors["img"]
        return Regions(
            features.flatten(0, 1),
            torch.zeros(features.shape[0] * self.count, 4),
            SequenceLayout((self.count,) * len(features)),
            geometry=self.tensors["vis_pe"].flatten(0, 1),
            masked=self.masked.flatten() if bool(self.masked.any()) else None,
        )

    def prepare(self, inputs: Inputs) -> RowTargets:
        """What is to be predicted, in order of the official tables."""
        tensors = self.tensors
        chosen = tensors["masked_weights"].bool()
        places = tensors["masked_pos"] - self.count * (tensors["masked_pos"] > 0)  # without the image
        rows = (inputs.text.layout.starts(places.device)[:, None] + places)[chosen]
        return RowTargets(inputs, rows, tensors["masked_ids"][chosen], layout_of(chosen).sequence_ids(rows.device))


def answers(system: System, given: Given, inputs: Inputs, objective: VlpPretraining) -> dict[str, Answer]:
    """What every batch for pretraining is asked."""
    depths = list(system.hidden_states(inputs))
    encoded = system(inputs)
    batch = given.prepare(inputs)
    chosen = given.tensors["masked_weights"].bool()
    return {
        "embeddings": Answer(depths[0].x, given.real),
        "sequence": Answer(depths[-1].x, given.real),
        "pooled": Answer(encoded.pooled),
        "logits": Answer(system.head("masked-tokens")(encoded.text[batch.rows]), chosen),
        "loss": Answer(objective.parts(system, batch)["words"].reshape(1)),
    }


def pretrain(case: Case) -> dict[str, Answer]:
    """The geometry is made of the boxes in one of the two batches."""
    system = mm_kptm.load("vlp", case.folder, heads=["masked-tokens"])
    compared = {}
    for mode in ("s2s", "bi"):
        given = Given(case, f"{mode}.")
        regions = given.regions()
        if mode == "bi":
            boxes = case.inputs["raw_box"].flatten(0, 1)
            sizes = boxes[:, :4].max()  # any unit will do
            regions = replace(
                regions,
                boxes=boxes[:, :4] / sizes,
                classes=case.inputs["cls_prob"].flatten(0, 1),
                objects=Detected(torch.zeros(len(boxes), dtype=torch.long), boxes[:, 5]),
                geometry=None,
            )
        inputs = Inputs(text=given.text(), regions=regions)
        for name, answer in answers(system, given, inputs, VlpPretraining(MASKING)).items():
            compared[f"{mode}.{name}"] = answer
    return compared


def vismask(case: Case) -> dict[str, Answer]:
    given = Given(case)
    # the loader takes masked regions out of the mask; what the official code was given decides
    keys = given.tensors["input_mask"][:, 0, 1 : given.count + 1].bool()
    seen = bool(keys[given.masked].any())
    system = mm_kptm.load("vlp", case.folder, heads=["masked-tokens"], attends_to_masked_regions=seen)
    inputs = Inputs(text=given.text(), regions=given.regions())
    objective = VlpPretraining(
        MASKING, smoothing=case.config["label_smoothing"], drop_worst=case.config["drop_worst_ratio"]
    )
    compared = answers(system, given, inputs, objective)
    compared["mlm_loss"] = compared.pop("loss")
    return {**compared, "vis_loss": Answer(region_losses(system, inputs).mean().reshape(1))}


def vqa(case: Case) -> dict[str, Answer]:
    truth = case.inputs["answers"]
    system = mm_kptm.load("vlp", case.folder, heads={"fused-answers": {"num_answers": truth.shape[1]}})
    given = Given(case)
    inputs = Inputs(text=given.text(), regions=given.regions())
    scores = system.head("fused-answers")(system(inputs).text, inputs.text.layout)
    loss = F.binary_cross_entropy_with_logits(scores, truth, reduction="none").sum(1).mean()
    return {
        "sequence": Answer(list(system.hidden_states(inputs))[-1].x, given.real),
        "logits": Answer(scores),
        "loss": Answer(loss.reshape(1)),
        "answer": Answer(scores[:, 1:].argmax(1) + 1),
    }


def captioning(case: Case) -> dict[str, Answer]:
    system = mm_kptm.load("vlp", case.folder, heads=["masked-tokens"])
    given = case.inputs
    count, regions = given["img"].shape[:2]
    image = Regions(
        given["img"].flatten(0, 1),
        torch.zeros(count * regions, 4),
        SequenceLayout((regions,) * count),
        geometry=given["vis_pe"].flatten(0, 1),
    )
    length = given["segment_ids"].shape[1]
    how = Captioning(
        start=(int(given["input_ids"][0, 0]), int(given["input_ids"][0, -1])),
        mask=case.config["mask_word_id"],
        stop=case.config["eos_id"],
        max_length=length - given["input_ids"].shape[1],
        written=lambda tokens: bidirectional_or_seq2seq(tokens, torch.ones(len(tokens.layout), dtype=torch.bool)),
    )
    ids, scores = greedy_search(system, image, how)
    found = beam_search(system, image, how, width=case.config["beam"])

    def wide(frames: Tensor) -> Tensor:
        """As long as the official tables, which go on with zeros."""
        return F.pad(frames, (0, 0, 0, length - frames.shape[1]))

    best = pad_sequence([torch.tensor(text) for text in found.best], batch_first=True)
    return {
        "greedy_ids": Answer(ids),
        "greedy_scores": Answer(scores),
        "beam.pred_seq": Answer(F.pad(best, (0, length - best.shape[1]))),
        "beam.scores": Answer(wide(found.scores)),
        "beam.wids": Answer(wide(found.words)),
        "beam.ptrs": Answer(wide(found.parents)),
    }


CASES = {"pretrain": pretrain, "vismask": vismask, "vqa": vqa, "captioning": captioning}
