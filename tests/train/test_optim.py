"""Optimisers and the course of the learning rate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.train import TrainSettings
from mm_kptm.train.optim import BertAdam, groups, lr_at, optimizer_for
from tests.train.toy import Line


def test_bert_adam_is_the_published_update():
    """Against the equations written out for one number at a time."""
    parameter = nn.Parameter(torch.tensor([0.5, -2.0]))
    optimizer = BertAdam([parameter], lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.03)
    weights, means, squares = [0.5, -2.0], [0.0, 0.0], [0.0, 0.0]
    for gradient in ([1.0, -3.0], [0.5, 2.0], [0.0, 1e-3]):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        for i, g in enumerate(gradient):
            means[i] = 0.8 * means[i] + 0.2 * g
            squares[i] = 0.95 * squares[i] + 0.05 * g * g
            weights[i] -= 0.1 * (means[i] / (math.sqrt(squares[i]) + 1e-6) + 0.03 * weights[i])
    torch.testing.assert_close(parameter.detach(), torch.tensor(weights))


def test_bert_adam_leaves_what_has_no_gradient():
    moved, left = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = BertAdam([moved, left], lr=0.1)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert left.tolist() == [1, 1] and moved.tolist() != [1, 1]


def test_only_matrices_decay_and_tied_ones_once():
    model = Line()
    decays, stays = groups(model.parameters(), 0.1)
    assert {id(p) for p in decays["params"]} == {id(model.first.weight), id(model.last.weight)}
    assert decays["weight_decay"] == 0.1 and stays["weight_decay"] == 0
    assert len(decays["params"]) + len(stays["params"]) == len(list(model.parameters()))


def test_frozen_parameters_are_not_trained():
    model = Line()
    model.first.requires_grad_(False)
    trained = [p for group in groups(model.parameters(), 0.1) for p in group["params"]]
    assert not any(p is model.first.weight or p is model.first.bias for p in trained)
    model.requires_grad_(False)
    with pytest.raises(UserError, match="no parameter to train: all are frozen"):
        groups(model.parameters(), 0.1)


@pytest.mark.parametrize("name", ["adamw", "bert-adam"])
def test_the_named_optimizer_is_built(name):
    settings = TrainSettings(optimizer=name, lr=0.5, betas=(0.7, 0.8), eps=1e-3)
    optimizer = optimizer_for(Line(), settings)
    assert isinstance(optimizer, {"adamw": torch.optim.AdamW, "bert-adam": BertAdam}[name])
    assert optimizer.defaults["betas"] == (0.7, 0.8) and optimizer.defaults["eps"] == 1e-3


def test_the_fused_update_is_the_plain_one():
    models = [Line(dropout=0.0), Line(dropout=0.0)]
    for model, fused in zip(models, (True, False), strict=True):
        optimizer = optimizer_for(model, TrainSettings(lr=0.1, fused=fused))
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("wsd", [0.5, 1, 1, 1, 2 / 3, 1 / 3]),
        ("inverse-sqrt", [0.5, 1, math.sqrt(2 / 3), math.sqrt(2 / 4), math.sqrt(2 / 5), math.sqrt(2 / 6)]),
    ],
)
def test_the_rate_rises_over_the_warmup_and_then_follows_its_schedule(schedule, rates):
    settings = TrainSettings(steps=6, lr=2.0, warmup=1 / 3, schedule=schedule, decay_fraction=0.5)
    assert [lr_at(step, settings) for step in range(1, 7)] == pytest.approx([2 * rate for rate in rates])


def test_a_run_may_be_all_warmup_or_have_none():
    assert lr_at(4, TrainSettings(steps=4, lr=1.0, warmup=1.0)) == 1
    assert lr_at(1, TrainSettings(steps=4, lr=1.0, warmup=0.0)) == 1
