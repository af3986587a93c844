"""Who sees whom in ERNIE-M's pretraining."""

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.cross_attention_mask import (
    Appended,
    CrossSentence,
    with_appended,
    with_cross_sentence_mask,
)
from mm_kptm.errors import UserError

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}


def test_a_masked_token_is_predicted_from_the_other_sentence() -> None:
    # [CLS] a [MASK] b [SEP] [SEP] c d [SEP]
    pair = CrossSentence(torch.tensor([0] * 5 + [1] * 4), torch.arange(9) == 2)
    rows = torch.arange(9)
    seen = pair.mask_mod(rows[:, None], rows[None, :])
    assert seen[2].nonzero().flatten().tolist() == [2, 5, 6, 7, 8]
    assert seen[rows != 2].all()


@torch.no_grad()
def test_what_stands_beside_a_masked_token_does_not_reach_it_directly() -> None:
    one_layer = mm_kptm.build("ernie-m", heads=(), seed=0, **{**SMALL, "num_layers": 1})
    for parameter in one_layer.parameters():
        parameter.normal_(std=0.5)

    def states(neighbour: int) -> torch.Tensor:
        text = Tokens.of([[0, neighbour, 29, 2, 2, 7, 8, 2]])
        sides = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        return one_layer(Inputs(text=with_cross_sentence_mask(text, torch.tensor([2]), sides))).text

    torch.testing.assert_close(states(5)[2], states(6)[2])
    assert not torch.allclose(states(5)[3], states(6)[3])


def test_pseudo_tokens_stand_behind_each_text() -> None:
    grown = with_appended(Tokens.of([[0, 5, 2], [0, 2]]), 2, 29)
    assert [part.tolist() for part in grown.layout.split(grown.ids)] == [[0, 5, 2, 29, 29], [0, 2, 29, 29]]
    assert grown.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    with pytest.raises(UserError, match="at least one pseudo token is appended to a text, not 0"):
        with_appended(Tokens.of([[0, 2]]), 0, 29)


@pytest.mark.parametrize(
    "mask", [CrossSentence(torch.tensor([0, 1, 1]), torch.tensor([True, False, False])), Appended(torch.arange(3) == 2)]
)
def test_a_mask_moves_with_its_rows(mask: CrossSentence | Appended) -> None:
    places, rows = torch.tensor([3, 0, 2]), torch.arange(3)
    moved = mask.scatter(places, 4)
    before = mask.mask_mod(rows[:, None], rows[None, :])
    assert torch.equal(moved.mask_mod(places[:, None], places[None, :]), before)
