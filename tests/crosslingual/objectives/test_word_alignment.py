"""Word alignment by optimal transport, and the pointer that learns it."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.objectives.word_alignment import WordAlignment, align_words, pointers, sinkhorn
from mm_kptm.errors import UserError

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 8, "vocab_size": 30, "max_positions": 20, "dropout": 0.1}
MASKING = FairseqMasking(mask_id=29, vocab_size=30, rate=0.5)


def system() -> Any:
    return mm_kptm.build("xlm-align", heads=("masked-tokens", "word-alignment"), seed=0, **SMALL)


def inputs() -> Inputs:
    return Inputs(text=Tokens.of([[0, 10, 11, 12, 2], [0, 13, 2]]), target=Tokens.of([[0, 20, 21, 2], [0, 22, 23, 2]]))


def test_a_plan_has_rows_that_sum_to_one_and_no_negative_share() -> None:
    plan = sinkhorn(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), iterations=3)
    torch.testing.assert_close(plan.sum(1), torch.ones(4))
    assert (plan > 0).all()


def test_words_that_choose_each_other_are_aligned_first() -> None:
    plan = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.3, 0.1], [0.0, 0.2, 0.7]])
    assert align_words(plan, rounds=1).tolist() == [[0, 0], [2, 2]]
    # cell (0, 0) is closed now, so 0.9 * 0.8 is the best one of row 1 and of column 0
    assert align_words(plan, rounds=2).tolist() == [[0, 0], [1, 0], [2, 2]]
    # 0.3 * 0.8 is less than the 0.3 of column 1, which is free
    assert align_words(plan, rounds=2, decay=0.3).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_short_texts_have_one_round_and_empty_ones_no_pair() -> None:
    plan = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.3, 0.1]])
    assert align_words(plan, rounds=5, decay=0.1).tolist() == [[0, 0]]
    assert align_words(torch.zeros(0, 3)).shape == (0, 2)


def test_a_token_aligned_twice_points_to_the_last() -> None:
    forward, back = pointers(
        [torch.tensor([[1, 7], [2, 7]]), torch.tensor([[4, 9]])], torch.tensor([1, 7, 8]), total=10
    )
    assert (forward.rows.tolist(), forward.gold.tolist()) == ([1], [7])
    assert (back.rows.tolist(), back.gold.tolist()) == ([7], [2])


def test_a_pair_is_one_row_with_one_separator() -> None:
    batch = WordAlignment(MASKING, layer=1).prepare(inputs(), torch.Generator().manual_seed(0))
    assert [part.tolist() for part in batch.clean.layout.split(batch.clean.ids)] == [
        [0, 10, 11, 12, 2, 20, 21, 2],
        [0, 13, 2, 22, 23, 2],
    ]
    assert batch.spans.tolist() == [[1, 4, 5, 7], [9, 10, 11, 13]]
    untouched = torch.ones(batch.clean.rows, dtype=torch.bool)
    untouched[batch.rows] = False
    assert torch.equal(batch.clean.ids[untouched], batch.hidden.ids[untouched])


def test_the_loss_is_the_mean_over_pointers_and_hidden_tokens() -> None:
    model, objective = system().eval(), WordAlignment(MASKING, layer=1)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(1))
    *parts, owners = objective.parts(model, batch, objective.align(model, batch))
    assert sum(len(part) for part in parts) == len(owners) and len(parts[2]) == len(batch.rows)
    torch.testing.assert_close(objective.loss(model, batch), torch.cat(parts).mean())
    measured = objective.measure(model, batch)
    torch.testing.assert_close(measured[0], torch.cat(parts)[owners == 0].mean())


def test_alignment_is_drawn_without_dropout_and_leaves_training_on() -> None:
    model, objective = system().train(), WordAlignment(MASKING, layer=2)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(1))
    first, second = objective.align(model, batch), objective.align(model, batch)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all((pairs[:, 0] < pairs[:, 1]).all() for pairs in first)


def test_texts_without_their_translations_are_refused() -> None:
    with pytest.raises(UserError, match="the inputs need a text and a target"):
        WordAlignment(MASKING).prepare(Inputs(text=Tokens.of([[0, 2]])), torch.Generator())
    with pytest.raises(UserError, match="there are 1 and 2"):
        one = Inputs(text=Tokens.of([[0, 2]]), target=Tokens.of([[0, 2]] * 2))
        WordAlignment(MASKING).prepare(one, torch.Generator())
    with pytest.raises(UserError, match="reads layer 10, which is deeper than the encoder"):
        objective = WordAlignment(MASKING, layer=10)
        objective.loss(system(), objective.prepare(inputs(), torch.Generator()))
