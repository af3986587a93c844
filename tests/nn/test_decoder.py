"""A decoder against torch's, and against itself row by row."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.decoder import Decoder, DecoderLayer
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.ragged import AttentionLayout, masked_self_attention_layout
from mm_kptm.nn.steps import SharedSequences, Stream
from mm_kptm.nn.sublayers import FeedForwardSublayer, attention_sublayer, bert_norm
from mm_kptm.nn.visibility import Causal, Matrix

DIM, HEADS = 8, 2
SOURCES = SequenceLayout((3, 5, 1))


def layer() -> DecoderLayer:
    feed = FeedForwardSublayer(DIM, 12, bert_norm(DIM))
    return DecoderLayer(attention_sublayer(DIM, HEADS), attention_sublayer(DIM, HEADS), feed)


def decoder() -> Decoder:
    torch.manual_seed(0)
    text = TextEmbedding(20, DIM, max_positions=10, num_segments=0)
    return Decoder(text, [layer() for _ in range(3)]).eval().double()


def source(**more: SharedSequences) -> Stream:
    torch.manual_seed(1)
    return Stream.of(torch.randn(9, DIM, dtype=torch.double), SOURCES, **more)


def filled(ours: nn.MultiheadAttention, theirs: nn.Module) -> None:
    ours.in_proj_weight.copy_(torch.cat([theirs.query.weight, theirs.key.weight, theirs.value.weight]))
    ours.in_proj_bias.copy_(torch.cat([theirs.query.bias, theirs.key.bias, theirs.value.bias]))
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())


@torch.no_grad()
def test_a_layer_agrees_with_torch() -> None:
    torch.manual_seed(0)
    ours = layer().eval().double()
    for parameter in ours.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    theirs = nn.TransformerDecoderLayer(
        DIM, HEADS, 12, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.double
    ).eval()
    filled(theirs.self_attn, ours.self_attention.attention)
    filled(theirs.multihead_attn, ours.cross_attention.attention)
    for mine, other in (
        (ours.ffn.up_proj, theirs.linear1),
        (ours.ffn.down_proj, theirs.linear2),
        (ours.self_attention.norm, theirs.norm1),
        (ours.cross_attention.norm, theirs.norm2),
        (ours.ffn.norm, theirs.norm3),
    ):
        other.load_state_dict(mine.state_dict())
    targets, read = SequenceLayout((4, 2, 3)), source()
    x = torch.randn(9, DIM, dtype=torch.double)
    after = ours(x, masked_self_attention_layout(targets, Causal()), read)
    for mine, one, other in zip(targets.split(after), targets.split(x), SOURCES.split(read.x), strict=True):
        mask = nn.Transformer.generate_square_subsequent_mask(len(one), dtype=torch.double)
        torch.testing.assert_close(mine, theirs(one[None], other[None], tgt_mask=mask)[0], atol=1e-12, rtol=1e-12)


def row_by_row(model: Decoder, texts: Sequence[Sequence[int]], read: Stream) -> Tensor:
    """The states of texts of one length, computed one row of all texts at a time, [B, n, D]."""
    memory, states = model.begin(read), []
    for place, ids in enumerate(zip(*texts, strict=True)):
        tokens = Tokens.of([[token] for token in ids], positions=[[place]] * len(ids))
        x, memory = model.step(tokens, memory)
        states.append(x)
    assert memory.written == len(states)
    return torch.stack(states, 1)


@torch.no_grad()
def test_rows_one_by_one_are_the_rows_at_once() -> None:
    model, texts = decoder(), [[1, 4, 7, 2], [3, 3, 5, 2], [9, 8, 7, 6]]
    at_once = model(Tokens.of(texts), source())
    torch.testing.assert_close(row_by_row(model, texts, source()).flatten(0, 1), at_once)


@torch.no_grad()
def test_hypotheses_go_on_from_any_of_the_old() -> None:
    """Memory that was reordered is that of the texts in the new order, however many each source has."""
    model, read = decoder(), source()
    memory = model.begin(read)
    _, memory = model.step(Tokens.of([[1], [2], [3]]), memory)
    memory = memory.select(torch.tensor([0, 0, 2]), SequenceLayout((2, 0, 1)))
    x, memory = model.step(Tokens.of([[4], [5], [6]], positions=[[1]] * 3), memory)
    again = source(shared=SharedSequences(SequenceLayout((3, 3, 1)), torch.tensor([0, 1, 2, 0, 1, 2, 8])))
    expected = model(Tokens.of([[1, 4], [1, 5], [3, 6]]), again)
    torch.testing.assert_close(x, expected[1::2])


@torch.no_grad()
def test_what_a_source_hides_is_hidden_from_its_reader() -> None:
    model, read = decoder(), source()
    hidden = torch.ones(3, 3, dtype=torch.bool)
    hidden[:2, 2] = False  # the third row of the first source is nobody's but its own
    mask = Matrix.of([hidden, torch.ones(5, 5).bool(), torch.ones(1, 1).bool()])
    read = Stream(read.x, AttentionLayout(SOURCES, SOURCES, mask))
    tokens = Tokens.of([[1, 4], [2, 2], [3, 6]])
    full = model(tokens, read)
    torch.testing.assert_close(row_by_row(model, [[1, 4], [2, 2], [3, 6]], read).flatten(0, 1), full)


def test_a_decoder_needs_a_layer() -> None:
    with pytest.raises(UserError, match=r"^a decoder needs at least one layer, but num_layers is 0$"):
        Decoder(nn.Identity(), [])
