"""LASER: the stacked LSTM encoder, and margin mining in all its modes."""

import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens, pad
from mm_kptm.crosslingual.alignment.margin_mining import margin_nearest, margin_scores, mine
from tests.golden.case import Answer, Case


def bilstm(case: Case) -> dict[str, Answer]:
    ids = case.inputs["src_tokens"]
    system = mm_kptm.load("laser", case.folder)
    real = ids != case.config["padding_idx"]
    inputs = Inputs(text=Tokens.padded(ids, real))
    encoded = system(inputs)
    recurrent = system.encoder.read(inputs)
    directions = 2 if case.config["bidirectional"] else 1
    rows = pad(recurrent.x, inputs.text.layout, length=ids.shape[1]).transpose(0, 1)
    behind = torch.arange(ids.shape[1])[:, None] < real.sum(1)  # the released code moves padding behind the texts
    return {
        "sentemb": Answer(encoded.pooled),
        "encoder_out": Answer(rows[behind], behind),
        "final_hiddens": Answer(stacked(recurrent.hidden, directions)),
        "final_cells": Answer(stacked(recurrent.cells, directions)),
    }


def stacked(states: Tensor, directions: int) -> Tensor:
    """As the released code has them: one direction of all sentences, then the other, cut into rows of both widths."""
    return torch.cat(states.chunk(directions, dim=2), 1).reshape(states.shape)


def mining(case: Case) -> dict[str, Answer]:
    source, target = case.inputs["x"], case.inputs["y"]
    first, second = case.config["duplicate_source_lines"]
    unified = source.clone()
    unified[first] = source[second]  # one row per text: place of the first, vector of the last
    rows = torch.tensor([row for row in range(len(source)) if row != second])
    row_of = torch.zeros(len(source), dtype=torch.long)
    row_of[rows] = torch.arange(len(rows))
    row_of[second] = row_of[first]
    k, threshold = case.config["neighborhood"], case.config["threshold"]
    modes = {
        "intersect": mine(unified[rows], target, k=k, retrieval="intersect"),
        "max": mine(unified[rows], target, k=k),
        "threshold": mine(unified[rows], target, k=k, min_score=threshold),
        "shift": mine(unified[rows], target, k=k, shift=True),
    }
    answers = {}
    for name, mined in modes.items():
        answers[f"mine_{name}"] = Answer(torch.stack([rows[mined.pairs[:, 0]], mined.pairs[:, 1]], 1))
        answers[f"mine_{name}_score"] = Answer(mined.scores)
    lines = torch.arange(len(source))
    pairs = torch.stack([row_of, lines], 1)
    return {
        **answers,
        "search": Answer(margin_nearest(unified[rows], target, k=k)[row_of]),
        "score": Answer(torch.stack([rows[row_of], lines], 1)),
        "score_score": Answer(margin_scores(unified[rows], target, pairs, k=k)),
    }


CASES = {"bilstm": bilstm, "mining": mining}
"""What each golden case compares."""
