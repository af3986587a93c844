"""VECO's four predictions of a pair."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.objectives.plugged_attention import PluggedAttention
from mm_kptm.errors import UserError

SMALL = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 30,
    "max_positions": 20,
    "dropout": 0.0,
}


def built() -> Any:
    return mm_kptm.build("veco", seed=0, **SMALL)


def inputs() -> Inputs:
    return Inputs(text=Tokens.of([[0, 5, 6, 2], [0, 7, 2]]), target=Tokens.of([[0, 8, 2], [0, 8, 9, 10, 2]]))


def test_the_loss_is_the_sum_of_four_means() -> None:
    system, objective = built(), PluggedAttention(FairseqMasking(mask_id=29, vocab_size=30, rate=0.5))
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    losses = objective.losses(system, batch)
    assert list(losses) == ["x", "x_given_y", "y", "y_given_x"]
    torch.testing.assert_close(objective.loss(system, batch), sum(each.mean() for each in losses.values()))
    assert objective.measure(system, batch).shape == (2,)
    system.train()
    objective.loss(system, batch).backward()
    assert all(parameter.grad is not None for parameter in system.parameters())


def test_pairs_without_a_translation_are_refused() -> None:
    text = Inputs(text=inputs().text)
    with pytest.raises(UserError, match="the inputs need a text and a target"):
        PluggedAttention(FairseqMasking(mask_id=29, vocab_size=30)).prepare(text, torch.Generator())
    with pytest.raises(UserError, match="where there is a translation, but the inputs have no target"):
        built().encoder.both(text)
