"""Dual BERT: what a translation adds."""

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Open

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}


def inputs(first: int = 8, **more: object) -> Inputs:
    return Inputs(text=Tokens.of([[1, 5, 6, 2], [1, 7, 2]]), target=Tokens.of([[1, first, 2], [1, 8, 9, 2]], **more))


@torch.no_grad()
def test_half_of_a_state_is_the_text_alone_and_half_reads_the_translation() -> None:
    system = mm_kptm.build("dual-bert", heads=(), seed=0, **SMALL)
    for parameter in system.parameters():
        parameter.normal_(std=0.5)
    first, second = system(inputs(8)).text, system(inputs(9)).text
    torch.testing.assert_close(first[:, :8], second[:, :8])
    torch.testing.assert_close(first[:, :8], system.encoder.translated(inputs()))
    assert not torch.allclose(first[:4, 8:], second[:4, 8:])
    torch.testing.assert_close(first[4:], second[4:])


@torch.no_grad()
def test_hidden_rows_of_the_translation_get_no_share() -> None:
    system = mm_kptm.build("dual-bert", heads=(), seed=0, **SMALL)
    attention = system.encoder.fuse
    attention.value.weight.copy_(torch.eye(8))
    attention.dense.weight.copy_(torch.eye(8) * 100)
    hidden = Open(torch.tensor([True, False, True, True, True, True, True]))
    *_, text = system.hidden_states(inputs())
    *_, other = system.hidden_states(Inputs(text=inputs(attention_mask=hidden).target))
    louder = other._replace(x=other.x.clone())
    louder.x[1] = 0.0
    assert torch.isfinite(attention(text, other)).all()
    attention.key.weight.zero_()  # so that the inner softmax of keys does not see it either
    moved = (attention(text, other) - attention(text, louder)).abs().amax(1)
    assert (moved[[0, 2, 3]] < 1e-5).all() and moved[1] > 1e-3, "only the place beside it changes"


def test_a_text_without_a_translation_is_refused() -> None:
    with pytest.raises(UserError, match="dual-bert reads a text beside its translation, so the inputs need a target"):
        mm_kptm.build("dual-bert", heads=(), **SMALL)(Inputs(text=inputs().text))
