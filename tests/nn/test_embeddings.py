"""Text embeddings: sums of tables, and what they refuse."""

import pytest
import torch
from torch import nn

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding


def tokens(**more: list[list[int]]) -> Tokens:
    return Tokens.of([[5, 3], [1]], **more)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_an_embedding_is_the_norm_of_a_sum() -> None:
    embed = TextEmbedding(10, 4, num_languages=3, position_offset=2).eval()
    x = embed(tokens(segments=[[0, 1], [1]], languages=[[2, 2], [0]], positions=[[0, 4], [1]]))
    expected = (
        embed.word.weight[[5, 3, 1]]
        + embed.position.weight[[2, 6, 3]]
        + embed.segment.weight[[0, 1, 1]]
        + embed.language.weight[[2, 2, 0]]
    )
    torch.testing.assert_close(x, nn.functional.layer_norm(expected, (4,), eps=1e-12))


def test_a_table_of_one_segment_is_every_tokens() -> None:
    embed = TextEmbedding(10, 4, num_segments=1).eval()
    assert torch.equal(embed(tokens(segments=[[0, 1], [1]])), embed(tokens()))
    embed(tokens()).square().sum().backward()
    assert embed.segment.weight.grad.any()


def test_vectors_stand_in_for_words() -> None:
    embed = TextEmbedding(10, 4, num_segments=0, norm=nn.Identity()).eval()
    given = torch.randn(3, 4)
    plain = tokens()
    with_vectors = Tokens(plain.ids, plain.layout, plain.positions, plain.segments, vectors=given)
    torch.testing.assert_close(embed(with_vectors), given + embed.position.weight[[0, 1, 0]])


def test_a_table_left_out_has_no_parameters() -> None:
    names = [name for name, _ in TextEmbedding(10, 4, num_segments=0).named_parameters()]
    assert names == ["word.weight", "position.weight", "norm.weight", "norm.bias"]


def test_a_text_longer_than_the_positions_is_refused_with_the_way_out() -> None:
    embed = TextEmbedding(10, 4, max_positions=3, position_offset=2)
    message = "^a token stands at position 3, but the model has 3 positions; cut the text or build the model with max_"
    with pytest.raises(UserError, match=message + "positions=4$"):
        embed(tokens())


def test_a_model_of_languages_needs_them() -> None:
    with pytest.raises(
        UserError, match=r"^this model embeds the language of every token, but the tokens carry no languages$"
    ):
        TextEmbedding(10, 4, num_languages=2)(tokens())
