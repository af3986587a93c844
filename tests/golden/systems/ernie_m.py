"""ERNIE-M against Hugging Face's port: the encoder with its heads, and the masks of its pretraining."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.cross_attention_mask import with_appended, with_cross_sentence_mask
from mm_kptm.nn.visibility import Matrix
from tests.golden.case import Answer, Case


def encoder(case: Case) -> dict[str, Answer]:
    given = case.inputs
    kinds = {
        "classifier": {"num_classes": case.outputs["sequence_logits"].shape[-1]},
        "token-classifier": {"num_classes": case.outputs["token_logits"].shape[-1]},
        "answer-spans": {},
    }
    system = mm_kptm.load("ernie-m", case.folder, heads=kinds)
    ids, real = given["input_ids"], given["attention_mask"].bool()
    inputs = Inputs(text=Tokens.padded(ids, real))
    encoded = system(inputs)
    classes = system.head("classifier")(encoded.pooled)
    tags = system.head("token-classifier")(encoded.text)
    # the losses of spans compare with padding too, so its rows are kept, seen by no other
    whole = Tokens.padded(
        ids, torch.ones_like(real), attention_mask=Matrix.of([*real[:, None, :].expand(-1, real.shape[1], -1)])
    )
    states = system(Inputs(text=whole)).text
    edges = system.head("answer-spans")(states).view(*ids.shape, 2).unbind(-1)
    length = ids.shape[1]
    losses = [
        F.cross_entropy(scores, given[side].clamp(0, length), ignore_index=length)
        for scores, side in zip(edges, ("start", "end"), strict=True)
    ]
    bare = ids != case.config["pad_token_id"]
    return {
        **{f"hidden_{depth}": Answer(stream.x, real) for depth, stream in enumerate(system.hidden_states(inputs))},
        "pooled": Answer(encoded.pooled),
        "sequence_logits": Answer(classes),
        "sequence_loss": Answer(F.cross_entropy(classes, given["labels"])),
        "token_logits": Answer(tags, real),
        "token_loss": Answer(F.cross_entropy(tags, given["token_labels"][real])),
        "start_logits": Answer(edges[0]),
        "end_logits": Answer(edges[1]),
        "span_loss": Answer(torch.stack(losses).mean()),
        "hidden_last_without_mask": Answer(system(Inputs(text=Tokens.padded(ids, bare))).text, bare),
    }


def masks(case: Case) -> dict[str, Answer]:
    given, settings = case.inputs, case.config
    system = mm_kptm.load("ernie-m", case.folder)
    ids, real = given["input_ids"], given["side"] > 0
    pair = Tokens.padded(ids, real)
    rows = (given["labels"][real] != -100).nonzero().squeeze(1)
    across = with_cross_sentence_mask(pair, rows, given["side"][real])
    check_seen(across, given["camlm_allowed"], real)
    text_ids, there = given["bt_input_ids"], given["bt_input_ids"] != settings["pad_token_id"]
    count = settings["pseudo_tokens"]
    lengths = there.sum(1) - count
    bare = torch.arange(text_ids.shape[1]) < lengths[:, None]
    grown = with_appended(Tokens.padded(text_ids, bare), count, settings["mask_token_id"])
    assert torch.equal(grown.ids, text_ids[there])
    check_seen(grown, given["bt_allowed"], there)
    return {
        "camlm_hidden": Answer(system(Inputs(text=across)).text, real),
        "bt_hidden": Answer(system(Inputs(text=replace(grown))).text, there),
    }


def check_seen(tokens: Tokens, allowed: Tensor, real: Tensor) -> None:
    """Our visibility is the given one between real tokens."""
    assert tokens.attention_mask is not None
    for number, first in enumerate(tokens.layout.offsets[:-1]):
        here = torch.arange(first, first + tokens.layout.lengths[number])
        theirs = allowed[number][real[number]][:, real[number]].bool()
        assert torch.equal(tokens.attention_mask.mask_mod(here[:, None], here[None, :]), theirs)


CASES = {"encoder": encoder, "masks": masks}
"""What each system is asked in its golden cases."""
