"""Pre-norm layers against torch's, and a decoder step by step against the whole text."""

import copy

import pytest
import torch
from torch import nn

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.prenorm import NormedDecoder, prenorm_decoder_layer, prenorm_layer
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.nn.scaled import ScaledEmbedding, TiedProjection
from mm_kptm.nn.steps import Stream


@torch.no_grad()
def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.normal_(std=0.4)
    return module.eval()


@torch.no_grad()
def test_a_layer_agrees_with_torch() -> None:
    torch.manual_seed(0)
    ours = randomised(prenorm_layer(12, 3, 20, nn.LayerNorm))
    theirs = nn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True, norm_first=True).eval()
    attention = ours.self_attention.attention
    roles = (attention.query, attention.key, attention.value)
    theirs.self_attn.in_proj_weight.copy_(torch.cat([role.weight for role in roles]))
    theirs.self_attn.in_proj_bias.copy_(torch.cat([role.bias for role in roles]))
    pairs = {
        theirs.self_attn.out_proj: attention.out_proj,
        theirs.norm1: ours.self_attention.norm,
        theirs.linear1: ours.ffn.up_proj,
        theirs.linear2: ours.ffn.down_proj,
        theirs.norm2: ours.ffn.norm,
    }
    for other, mine in pairs.items():
        other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 5, 12)
    reading = self_attention_layout(SequenceLayout((5, 5)))
    torch.testing.assert_close(ours(x.flatten(0, 1), reading).view(2, 5, 12), theirs(x), atol=1e-5, rtol=1e-5)
    rows = torch.tensor([1, 4, 6])
    narrow = ours(x.flatten(0, 1), reading.restrict_queries(rows))
    torch.testing.assert_close(narrow, theirs(x).flatten(0, 1)[rows], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 4])
@torch.no_grad()
def test_a_step_agrees_with_the_whole_text(length: int) -> None:
    torch.manual_seed(0)
    text = TextEmbedding(20, 8, max_positions=12, num_segments=0, dropout=0.0)
    layers = [prenorm_decoder_layer(8, 2, 12, nn.LayerNorm) for _ in range(2)]
    decoder = randomised(NormedDecoder(text, layers, nn.LayerNorm(8)))
    source = Stream.of(torch.randn(7, 8), SequenceLayout((3, 4)))
    ids = torch.randint(20, (2, length))
    whole = decoder(Tokens.of(ids.tolist()), source).view(2, length, 8)
    memory = decoder.begin(source)
    for place in range(length):
        tokens = Tokens.of(ids[:, place : place + 1].tolist(), positions=[[place]] * 2)
        states, memory = decoder.step(tokens, memory)
        torch.testing.assert_close(states, whole[:, place])
    *_, last = decoder.hidden_states(Tokens.of(ids.tolist()), source)
    torch.testing.assert_close(last.x.view(2, length, 8), whole)


def test_a_scaled_table_is_shared_as_it_is() -> None:
    word = ScaledEmbedding(5, 4, 2.0)
    torch.testing.assert_close(word(torch.tensor([3])), 2 * word.weight[3:4])
    rows = torch.randn(2, 4)
    torch.testing.assert_close(TiedProjection(word)(rows), rows @ word.weight.T)
    biased = copy.deepcopy(TiedProjection(word, bias=True))
    with torch.no_grad():
        biased.bias.fill_(3.0)
    torch.testing.assert_close(biased(rows), rows @ word.weight.T + 3)
    assert not biased.bias.requires_grad
