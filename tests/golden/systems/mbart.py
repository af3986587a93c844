"""mBART against fairseq, padded on either side, and against Hugging Face, generation among it."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.language_codes import last_moved_first, written
from mm_kptm.models.beam_search import beam_search
from mm_kptm.models.generation import Writing, greedy
from mm_kptm.nn.positions import counted_positions
from mm_kptm.objectives.next_tokens import NextTokens, SmoothedNextTokens
from tests.golden.case import Answer, Case

PAD, SMOOTHING = 1, 0.2


def ragged(ids: Tensor, real: Tensor) -> list[list[int]]:
    return [row[kept].tolist() for row, kept in zip(ids, real, strict=True)]


def hugging_face(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    pad = settings["pad_token_id"]
    system = mm_kptm.load("mbart", case.folder)
    real, shown = given["attention_mask"].bool(), given["labels"] != pad
    source = Tokens.padded(given["input_ids"], real)  # positions are columns
    labels = ragged(given["labels"], shown)
    read = Tokens.of(last_moved_first(labels))
    inputs = Inputs(text=source, target=read)
    states = system(inputs)["target"]
    logits = system.head("next-tokens")(states)
    inside = Inputs(text=source, target=written(labels))
    batch = NextTokens().prepare(inside)
    smoothed = SmoothedNextTokens(smoothing=SMOOTHING).losses(system, batch)
    depths = list(system.encoder.target.hidden_states(read, system.encoder.read(inputs)))
    stated = re.search(r"beam (\d+), max_length (\d+)", (case.folder / "README.md").read_text(encoding="utf-8"))
    width, max_length = (int(stated[1]), int(stated[2])) if stated else (3, case.outputs["greedy"].shape[1])
    writing = Writing(settings["target_lang_id"], settings["eos_token_id"], max_length)
    source_only = Inputs(text=source)
    beam = next(name for name in case.outputs if name.startswith("beam"))
    found = {
        "greedy": greedy(system, source_only, writing),
        beam: beam_search(system, source_only, writing, width=width, stop_early=True),
    }
    return {
        "encoder_last_hidden_state": Answer(system(source_only).text, real),
        "logits": Answer(logits, shown),
        "loss": Answer(NextTokens().loss(system, batch)),
        "loss_label_smoothing_02": Answer(smoothed.mean()),
        "fairseq_ls_sum": Answer(smoothed.sum()),
        "decoder_hidden_0": Answer(depths[0].x, shown),
        "decoder_last_hidden_state": Answer(depths[-1].x, shown),
        "shifted": Answer(read.ids, shown),
        **{name: Answer(table(texts, case.outputs[name].shape[1], pad)) for name, texts in found.items()},
    }


def table(texts: list[list[int]], width: int, pad: int) -> Tensor:
    return torch.tensor([[*text, *[pad] * (width - len(text))] for text in texts])


def fairseq(case: Case) -> dict[str, Answer]:
    given = case.inputs
    system = mm_kptm.load("mbart", case.folder)
    ids, target = given["src_tokens"], given["target"]
    real, shown = ids != PAD, target != PAD
    source = Tokens.padded(ids, real, positions=counted_positions(ids, PAD))
    labels = ragged(target, shown)
    read = last_moved_first(labels)
    assert read == ragged(given["prev_output_tokens"], shown)
    batch = NextTokens().prepare(Inputs(text=source, target=written(labels)))
    logits = system.head("next-tokens")(system(Inputs(text=source, target=Tokens.of(read)))["target"])
    return {
        "encoder_out": Answer(system(Inputs(text=source)).text, real),
        "logits": Answer(logits, shown),
        "loss_ls02_sum": Answer(SmoothedNextTokens(smoothing=SMOOTHING).losses(system, batch).sum()),
        "nll_sum": Answer(F.cross_entropy(logits, target[shown], reduction="sum")),
    }


CASES = {"cc": hugging_face, "fairseq": fairseq, "fairseq-left": fairseq}
