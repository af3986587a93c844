"""Activations that are computed again change nothing but memory; ``test_every_objective`` tries every system."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.recurrent.qrnn import QrnnLayer
from mm_kptm.nn.steps import Pair, SelfStep, Stream
from mm_kptm.train.activation_checkpointing import checkpointed_activations
from mm_kptm.train.layers import layers_of
from tests.train.test_loop import run, same
from tests.train.toy import Deep, Line, PointSource


@pytest.mark.parametrize(
    "settings", [{}, {"precision": "fp16"}, {"precision": "bf16", "gradient_accumulation_steps": 2}]
)
def test_a_run_ends_where_one_without_it_does(tmp_path, settings):
    plain, _ = run(tmp_path / "plain", model=Deep(), dev=PointSource(9), **settings)
    again, _ = run(tmp_path / "again", model=Deep(), dev=PointSource(9), activation_checkpointing=True, **settings)
    same(plain, again)


def test_the_model_is_left_as_it_was(tmp_path):
    model, _ = run(tmp_path, model=Deep(), activation_checkpointing=True)
    assert all("forward" not in vars(module) for module in model.modules())
    with pytest.raises(ValueError), checkpointed_activations(model):
        assert all("forward" in vars(layer) for layer in layers_of(model))
        raise ValueError
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_layer_inside_of_another_is_computed_twice_and_not_three_times():
    """Steps of two streams hold layers; the outermost of those that run stores its input, and it alone."""
    calls = []
    inner = mm_kptm.build("bert-base", dim=4, num_heads=2, ffn_dim=8, vocab_size=9, num_layers=1).encoder.layers[0]
    step = SelfStep(inner, None)
    model = nn.ModuleList([step])
    inner.self_attention.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(3, 4, requires_grad=True)
    stream = Stream.of(x, SequenceLayout((3,)))
    with checkpointed_activations(model):
        step(Pair(stream, stream)).left.x.sum().backward()
    assert len(calls) == 2 and x.grad is not None


def test_without_gradients_nothing_is_repeated():
    model = Deep()
    with checkpointed_activations(model), torch.no_grad():
        assert not model(torch.ones(2, 4)).requires_grad


def test_quasi_recurrent_layers_are_computed_again_too():
    system = mm_kptm.build("multifit", vocab_size=20, heads=[])
    layers = [part for part in system.modules() if isinstance(part, QrnnLayer)]
    with checkpointed_activations(system):
        assert layers and all("forward" in vars(layer) for layer in layers)


def test_a_model_without_layers_is_refused_by_name():
    with (
        pytest.raises(UserError, match=r"activation_checkpointing is true, but Line has no layers of attention"),
        checkpointed_activations(Line()),
    ):
        pass
