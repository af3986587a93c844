"""Multi-head attention against torch's own."""

import pytest
import torch
from torch import nn

from mm_kptm.batch import SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.ragged import cross_attention_layout, self_attention_layout


def reference(ours: Attention, **more: int) -> nn.MultiheadAttention:
    """torch's module with our weights."""
    theirs = nn.MultiheadAttention(ours.query.in_features, ours.num_heads, batch_first=True, **more).eval()
    with torch.no_grad():
        if theirs.in_proj_weight is None:
            theirs.q_proj_weight.copy_(ours.query.weight)
            theirs.k_proj_weight.copy_(ours.key.weight)
            theirs.v_proj_weight.copy_(ours.value.weight)
        else:
            theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_attention_agrees_with_torch() -> None:
    ours, layout = Attention(12, 3).eval(), SequenceLayout((5, 2, 7))
    x = torch.randn(layout.total, 12)
    padded = pad(x, layout)
    real = pad(torch.ones(layout.total), layout).bool()
    expected, shares = reference(ours)(padded, padded, padded, key_padding_mask=~real, average_attn_weights=False)
    torch.testing.assert_close(ours(x, x, self_attention_layout(layout)), expected[real])
    for mine, theirs, n in zip(ours.weights(x, x, self_attention_layout(layout)), shares, layout.lengths, strict=True):
        torch.testing.assert_close(mine, theirs[:, :n, :n])


def test_attention_to_a_stream_of_another_width_agrees_with_torch() -> None:
    ours, queries, sources = Attention(12, 3, source_dim=7).eval(), SequenceLayout((5, 2)), SequenceLayout((1, 4))
    x, source = torch.randn(queries.total, 12), torch.randn(sources.total, 7)
    absent = ~pad(torch.ones(sources.total), sources).bool()
    seen = pad(source, sources)
    expected, _ = reference(ours, kdim=7, vdim=7)(pad(x, queries), seen, seen, key_padding_mask=absent)
    real = pad(torch.ones(queries.total), queries).bool()
    torch.testing.assert_close(ours(x, source, cross_attention_layout(queries, sources)), expected[real])


def test_joint_width_is_free() -> None:
    """ViLBERT's co-attention is wider than one of its streams (Lu et al. 2019, section 3.1)."""
    attention = Attention(6, 2, source_dim=4, width=8)
    assert attention.query.weight.shape == attention.out_proj.weight.T.shape == (8, 6)
    layout = SequenceLayout((3,))
    assert attention(torch.randn(3, 6), torch.randn(3, 4), self_attention_layout(layout)).shape == (3, 6)


def test_order_of_sources_does_not_matter() -> None:
    attention, layout = Attention(8, 2).eval(), SequenceLayout((4,))
    x, source, order = torch.randn(4, 8), torch.randn(4, 8), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        attention(x, source, self_attention_layout(layout)), attention(x, source[order], self_attention_layout(layout))
    )


@pytest.mark.parametrize(("dim", "heads"), [(10, 3), (8, 0)])
def test_uneven_heads_are_refused(dim: int, heads: int) -> None:
    with pytest.raises(UserError, match=f"^a dim of {dim} cannot be divided evenly among {heads} heads$"):
        Attention(dim, heads)
