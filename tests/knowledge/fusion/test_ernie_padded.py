"""Fusion against its equations on padded tensors, written out once more: other kinds of layers than the golden case."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Entities, Inputs, Tokens
from mm_kptm.knowledge.fusion.ernie import FusedLayer, FusedStream, fuse
from mm_kptm.nn.sublayers import AttentionSublayer
from mm_kptm.recipes.bert import bert

HIDDEN = -10000.0


def attended(sublayer: AttentionSublayer, x: Tensor, seen: Tensor) -> Tensor:
    attention = sublayer.attention

    def heads(linear: nn.Linear) -> Tensor:
        return linear(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)

    query, key, value = heads(attention.query), heads(attention.key), heads(attention.value)
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + HIDDEN * (1 - seen[:, None, None, :])
    read = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return sublayer.norm(x + attention.out_proj(read))


def on_padded_tensors(encoder: FusedStream, x: Tensor, real: Tensor, e: Tensor, linked: Tensor) -> Tensor:
    """The states after all layers [B, N, D] of embedded tokens x and entity vectors e [B, N, E]."""
    for number, layer in enumerate(encoder.layers):
        x = attended(layer.self_attention, x, real)
        if str(number) not in encoder.fusions:
            x = layer.ffn(x)
            continue
        fused = encoder.fusions[str(number)]
        assert isinstance(fused, FusedLayer)
        if fused.self_attention is not None:
            e = attended(fused.self_attention, e, linked)
        e = e * linked[..., None]
        mixed = F.gelu(layer.ffn.up_proj(x) + fused.fuse.entity_in(e))
        x = layer.ffn.norm(x + layer.ffn.down_proj(mixed))
        e = fused.fuse.entity_norm(e + fused.fuse.entity_out(mixed))
    return x


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "kinds", [("norm", "norm", "mix", "norm"), ("mix", "sim", "norm", "sim"), ("sim", "norm", "sim", "mix"), ("mix",)]
)
def test_ragged_fusion_agrees_with_padded_equations(kinds: tuple[str, ...], seed: int) -> None:
    torch.manual_seed(seed)
    sizes = {"dim": 24, "num_heads": 3, "num_layers": 4, "ffn_dim": 20, "vocab_size": 50, "max_positions": 16}
    encoder = fuse(bert(**sizes), entity_dim=12, entity_heads=2, kinds=kinds).eval().double()
    for parameter in encoder.parameters():
        parameter.data.normal_(std=0.3)
    lengths, max_length = torch.tensor([11, 7, 7, 2]), 13
    real = torch.arange(max_length) < lengths[:, None]
    linked = (torch.rand(4, max_length) < 0.4) & real
    linked[3] = False
    linked[:, 0] = True
    vectors = torch.randn(4, max_length, 12, dtype=torch.double) * linked[..., None]
    vectors[:, 0] = 0
    ids = torch.randint(50, (4, max_length))
    text = Tokens.padded(ids, real)
    given = Inputs(text=text, entities=Entities(vectors[real], linked[real]))
    with torch.no_grad():
        embedded = torch.zeros(4, max_length, 24, dtype=torch.double)
        embedded[real] = encoder.embed.text(text)  # type: ignore[union-attr, operator]
        expected = on_padded_tensors(encoder, embedded, real.double(), vectors, linked.double())
        torch.testing.assert_close(encoder(given).text, expected[real], atol=1e-10, rtol=1e-10)
