"""Layers, norms and activations, against torch and by definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mm_kptm.batch import SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.nn.ragged import cross_attention_layout, self_attention_layout
from mm_kptm.nn.sublayers import UnbiasedNorm, activation_named, attention_sublayer, bert_layer, gelu_tanh, quick_gelu


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_layer_agrees_with_torch(activation: str) -> None:
    layout = SequenceLayout((4, 1, 6))
    ours = bert_layer(12, 3, ffn_dim=20, activation=activation).eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 20, activation=activation, layer_norm_eps=1e-12, batch_first=True)
    attention = ours.self_attention.attention
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        theirs.self_attn.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key.bias, attention.value.bias]))
    theirs.self_attn.out_proj.load_state_dict(attention.out_proj.state_dict())
    theirs.linear1.load_state_dict(ours.ffn.up_proj.state_dict())
    theirs.linear2.load_state_dict(ours.ffn.down_proj.state_dict())
    x = torch.randn(layout.total, 12)
    real = pad(torch.ones(layout.total), layout).bool()
    expected = theirs.train(False)(pad(x, layout), src_key_padding_mask=~real)[real]
    torch.testing.assert_close(ours(x, self_attention_layout(layout)), expected, atol=1e-5, rtol=1e-5)


def test_a_layer_finishes_only_the_rows_that_ask() -> None:
    layout, layer = SequenceLayout((4, 1, 6)), bert_layer(8, 2).eval()
    x, rows = torch.randn(layout.total, 8), torch.tensor([0, 3, 9])
    torch.testing.assert_close(
        layer(x, self_attention_layout(layout).restrict_queries(rows)), layer(x, self_attention_layout(layout))[rows]
    )


def test_a_sublayer_reads_the_source_and_adds_itself() -> None:
    queries, sources = SequenceLayout((2, 3)), SequenceLayout((4, 1))
    sublayer = attention_sublayer(8, 2, source_dim=6).eval()
    x, source = torch.randn(5, 8), torch.randn(5, 6)
    read = sublayer.attention(x, source, cross_attention_layout(queries, sources))
    torch.testing.assert_close(
        sublayer(x, cross_attention_layout(queries, sources), source), F.layer_norm(x + read, (8,), eps=1e-12)
    )


def test_dropout_acts_in_training_only() -> None:
    layer, x, reading = bert_layer(8, 2, dropout=0.5), torch.randn(4, 8), self_attention_layout(SequenceLayout((4,)))
    assert not torch.equal(layer(x, reading), layer(x, reading))
    layer.eval()
    assert torch.equal(layer(x, reading), layer(x, reading))


def test_the_unbiased_norm_is_its_formula() -> None:
    norm, x = UnbiasedNorm(6, eps=0.5), torch.randn(3, 6)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(6.0))
        norm.bias.copy_(torch.arange(6.0) - 3)
    deviation = ((x - x.mean(-1, keepdim=True)) ** 2).sum(-1, keepdim=True).div(5).sqrt()
    expected = torch.arange(6.0) * (x - x.mean(-1, keepdim=True)) / (deviation + 0.5) + torch.arange(6.0) - 3
    torch.testing.assert_close(norm(x), expected)


def test_a_constant_row_stays_finite_under_either_norm() -> None:
    constant = torch.full((1, 4), 3.0, requires_grad=True)
    normed = UnbiasedNorm(4)(constant)
    assert torch.equal(normed, torch.zeros(1, 4))


def test_activations_are_their_formulas() -> None:
    x = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(activation_named("gelu")(x), x * (1 + torch.erf(x / 2**0.5)) / 2)
    tanh = torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))
    torch.testing.assert_close(gelu_tanh(x), x * (1 + tanh) / 2)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))
    for name in ("swish", "silu"):  # of the released code, and of transformers
        torch.testing.assert_close(activation_named(name)(x), x / (1 + torch.exp(-x)))


def test_an_unknown_activation_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"^no activation is called 'mish'; there are gelu, relu, .*quick_gelu$"):
        activation_named("mish")
