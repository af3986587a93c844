"""The masking engine and the loss on what it hid."""

import math
from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import mean
from mm_kptm.objectives.tokens import (
    Bernoulli,
    BernoulliOrFirst,
    ExactCount,
    MaskedTokens,
    Masking,
    MaskingDraws,
    WholeUnitCount,
    WholeWordMasking,
    token_loss,
)
from mm_kptm.systems.system import System

CLS, SEP, MASK = 1, 2, 3
MASKING = Masking(MASK, pool=(10, 20), never=frozenset({CLS, SEP}))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sentences(*lengths: int) -> Tokens:
    """Sentences of word 50 between markers."""
    return Tokens.of([[CLS, *[50] * (n - 2), SEP][:n] for n in lengths])


def test_rates_are_those_of_the_policy() -> None:
    """Of a hundred thousand rows: a share hidden; of those, 80 % masked, 10 % swapped, 10 % kept."""
    tokens = Tokens.of([[50] * 100_000])
    hidden, rows = MASKING.mask(tokens, generator())
    ids = hidden.ids[rows]
    shares = [len(rows) / 1e5, *((ids == kind).float().mean() for kind in (MASK, 50))]
    for share, expected, count in zip(shares, (0.15, 0.8, 0.1), (1e5, 1.5e4, 1.5e4), strict=True):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


def test_replacements_come_from_the_whole_pool_and_nowhere_else() -> None:
    swap_all = replace(MASKING, policy=Bernoulli(1.0), mask_share=0.0, random_share=1.0)
    hidden, _ = swap_all.mask(Tokens.of([[50] * 1000]), generator())
    assert set(hidden.ids.tolist()) == set(range(10, 20))


def test_rows_that_were_not_chosen_are_as_they_were() -> None:
    tokens = Tokens.of([list(range(30, 60))])
    hidden, rows = replace(MASKING, policy=Bernoulli(0.5)).mask(tokens, generator())
    others = torch.ones(30, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(hidden.ids[others], tokens.ids[others]) and others.any() and not others.all()


@pytest.mark.parametrize("choice", [Bernoulli(1.0), BernoulliOrFirst(1.0), ExactCount(1.0)])
def test_markers_are_never_hidden(choice: Bernoulli) -> None:
    tokens = sentences(5, 2, 8)
    hidden, rows = replace(MASKING, policy=choice, mask_share=1.0).mask(tokens, generator())
    assert torch.equal(hidden.ids == MASK, tokens.ids == 50)
    assert len(rows) == 3 + 0 + 6


@pytest.mark.parametrize(
    ("length", "at_least", "at_most", "count"), [(20, 1, 512, 3), (2, 1, 512, 0), (5, 1, 512, 1), (100, 1, 9, 9)]
)
def test_an_exact_count_is_exact_in_every_sequence(length: int, at_least: int, at_most: int, count: int) -> None:
    masking = replace(MASKING, policy=ExactCount(0.15, at_least, at_most))
    tokens = sentences(length, 40, length)
    _, rows = masking.mask(tokens, generator())
    found = torch.bincount(tokens.layout.sequence_ids(rows.device)[rows], minlength=3)
    assert found.tolist() == [count, min(6, at_most), count]


def test_an_exact_count_favours_no_place() -> None:
    masking = replace(MASKING, policy=ExactCount(0.2))
    _, rows = masking.mask(Tokens.of([[50] * 10] * 5000), generator())
    counts = torch.bincount(rows % 10, minlength=10)
    assert counts.sum() == 10_000 and (counts - 1000).abs().max() < 4 * math.sqrt(10_000 * 0.1 * 0.9)


def test_a_sequence_in_which_nothing_was_drawn_hides_its_first_word() -> None:
    tokens = sentences(4, 3, 2)
    _, rows = replace(MASKING, policy=BernoulliOrFirst(0.0)).mask(tokens, generator())
    assert rows.tolist() == [1, 5]


def test_a_word_that_is_masked_because_none_was_drawn_is_always_shown_as_the_mask() -> None:
    """Others are kept or replaced in two of ten cases (Chen et al. 2020, released code)."""
    tokens = Tokens.of([[50, 51]] * 500)
    shown, rows = replace(MASKING, policy=BernoulliOrFirst(0.1)).mask(tokens, generator())
    firsts = shown.ids.view(500, 2)[:, 0]
    draws = MaskingDraws.fresh(torch.arange(1000), generator()).choose.view(500, 2)
    none = (draws >= 0.1).all(1)
    assert none.sum() > 350 and (firsts[none] == MASK).all()
    drawn = rows[~none[rows // 2]]
    assert (shown.ids[drawn] != MASK).any() and (shown.ids[drawn] == MASK).any()


def test_pieces_of_a_word_are_masked_replaced_or_kept_together() -> None:
    vocabulary = [*map(str, range(60)), "##a", "##b"]
    masker = WholeWordMasking.of(replace(MASKING, policy=Bernoulli(0.5)), vocabulary)
    tokens = Tokens.of([[50, 60, 61, 51]] * 300)
    shown, rows = masker.mask(tokens, generator())
    words = shown.ids.view(300, 4)[:, :3]
    hidden = torch.zeros(1200, dtype=torch.bool)
    hidden[rows] = True
    hidden = hidden.view(300, 4)[:, :3]
    assert (hidden.all(1) | ~hidden.any(1)).all() and 100 < int(hidden.all(1).sum()) < 200
    masks = words[hidden.all(1)] == MASK
    assert (masks.all(1) | ~masks.any(1)).all() and 0.7 < float(masks.all(1).float().mean()) < 0.9


def test_whole_words_are_hidden_together() -> None:
    units = torch.tensor([0, 1, 1, 1, 2, 3, 3, 4] * 50) + torch.arange(50).repeat_interleave(8) * 5
    tokens = Tokens.of([[50] * 400])
    _, rows = replace(MASKING, policy=Bernoulli(0.5)).mask(tokens, generator(), groups=units)
    hidden = set(rows.tolist())
    words = [{row for row in range(400) if units[row] == unit} for unit in range(250)]
    assert all(word <= hidden or not word & hidden for word in words)
    assert 75 < sum(word <= hidden for word in words) < 175


def test_injected_draws_decide_everything() -> None:
    draws = MaskingDraws(
        choose=torch.tensor([0.1, 0.14, 0.16, 0.05, 0.0]),
        treat=torch.tensor([0.79, 0.81, 0.0, 0.95, 0.5]),
        replace=torch.tensor([0.0, 0.99, 0.0, 0.0, 0.0]),
    )
    hidden, rows = MASKING.mask(Tokens.of([[50, 51, 52, 53, CLS]]), generator(), draws=draws)
    assert rows.tolist() == [0, 1, 3]
    assert hidden.ids.tolist() == [MASK, 19, 52, 53, CLS]


def test_a_seed_gives_the_same_puzzle_and_leaves_the_tokens_alone() -> None:
    tokens = sentences(30, 40)
    before = tokens.ids.clone()
    (first, rows), (second, again) = (MASKING.mask(tokens, generator(5)) for _ in range(2))
    assert torch.equal(first.ids, second.ids) and torch.equal(rows, again)
    assert torch.equal(tokens.ids, before)
    assert not torch.equal(first.ids, MASKING.mask(tokens, generator(6))[0].ids)


@pytest.mark.parametrize("choice", [Bernoulli(), BernoulliOrFirst(), ExactCount()])
@pytest.mark.parametrize("lengths", [(), (0, 0)])
def test_nothing_can_be_hidden_in_nothing(choice: Bernoulli, lengths: tuple[int, ...]) -> None:
    hidden, rows = replace(MASKING, policy=choice).mask(Tokens.of([[]] * len(lengths)), generator())
    assert len(hidden.ids) == len(rows) == 0


@pytest.fixture(scope="module")
def system() -> System:
    return mm_kptm.build("bert-base", seed=0, dim=8, num_heads=2, num_layers=2, ffn_dim=8, vocab_size=60)


def test_an_untrained_objective_is_uniform() -> None:
    blank = mm_kptm.build("bert-base", seed=0, dim=8, num_heads=2, num_layers=1, ffn_dim=8, vocab_size=60)
    torch.nn.init.zeros_(blank.encoder.embed.text.word.weight)
    objective = MaskedTokens(MASKING)
    loss = objective.loss(blank, objective.prepare(Inputs(text=sentences(20, 30)), generator()))
    torch.testing.assert_close(loss, torch.tensor(60.0).log())


def test_the_loss_is_the_mean_cross_entropy_of_the_hidden_words(system: System) -> None:
    objective = MaskedTokens(MASKING)
    batch = objective.prepare(Inputs(text=sentences(20, 30)), generator())
    scores = system.head("masked-tokens")(system(batch.inputs).text)[batch.rows]
    expected = -scores.log_softmax(-1)[:, 50]
    torch.testing.assert_close(objective.losses(system, batch), expected)
    torch.testing.assert_close(objective.loss(system, batch), expected.mean())


def test_an_example_is_measured_by_its_own_words(system: System) -> None:
    objective = MaskedTokens(replace(MASKING, policy=ExactCount()))
    batch = objective.prepare(Inputs(text=sentences(20, 2, 30)), generator())
    losses, measured = objective.losses(system, batch), objective.measure(system, batch)
    torch.testing.assert_close(measured[0], losses[batch.sequence_ids == 0].mean())
    torch.testing.assert_close(measured[2], losses[batch.sequence_ids == 2].mean())
    torch.testing.assert_close(measured[1], losses.mean())  # it hides nothing, so it has the mean of the batch


def test_a_batch_that_hides_nothing_has_a_loss_of_zero_with_a_gradient(system: System) -> None:
    objective = MaskedTokens(replace(MASKING, policy=Bernoulli(0.0)))
    batch = objective.prepare(Inputs(text=sentences(5, 4)), generator())
    loss = objective.loss(system, batch)
    loss.backward()
    assert loss == 0
    assert torch.equal(objective.measure(system, batch), torch.zeros(2))
    system.zero_grad()


def test_text_is_needed() -> None:
    regions = Regions(torch.zeros(1, 2), torch.zeros(1, 4), SequenceLayout((1,)))
    with pytest.raises(UserError, match=r"^masked-tokens masks text, but the inputs have none$"):
        MaskedTokens(MASKING).prepare(Inputs(regions=regions), generator())


def test_the_mean_of_nothing_is_zero() -> None:
    assert mean(torch.zeros(0)) == 0
    assert token_loss(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)) == 0
    torch.testing.assert_close(token_loss(torch.zeros(3, 5), torch.tensor([0, 1, 2])), torch.tensor(5.0).log())


def test_whole_units_are_hidden_and_those_too_long_are_passed_over() -> None:
    """Three rows may be hidden: never the unit of four, and always three or the most that fits."""
    units = [-1, 0, 0, 0, 0, 1, 1, 2, 3, 3, -1]
    tokens = Tokens.of([list(range(30, 41))] * 40, mask_groups=[units] * 40)
    _, rows = replace(MASKING, policy=WholeUnitCount(0.3)).mask(tokens, generator())
    for sequence in range(40):
        hidden = {int(row) - 11 * sequence for row in rows if row // 11 == sequence}
        assert hidden in ({5, 6, 7}, {7, 8, 9})
    assert {int(row) % 11 for row in rows} == {5, 6, 7, 8, 9}


def test_units_of_one_row_are_as_many_as_an_exact_count() -> None:
    tokens = sentences(12, 40, 7)
    fitting, exact = (replace(MASKING, policy=c).mask(tokens, generator())[1] for c in (WholeUnitCount(), ExactCount()))
    assert torch.equal(fitting, exact)


def test_sequences_draw_their_units_apart() -> None:
    """Units are numbered in each sequence from 0, and yet no two sequences share a draw."""
    tokens = Tokens.of([[50] * 4] * 200, mask_groups=[[0, 0, 1, -1]] * 200)
    _, rows = replace(MASKING, policy=Bernoulli(0.5)).mask(tokens, generator())
    first = torch.zeros(800, dtype=torch.bool).index_fill(0, rows, True).view(200, 4)
    assert torch.equal(first[:, 0], first[:, 1]) and not first[:, 3].any()
    assert 60 < int(first[:, 0].sum()) < 140 and 60 < int(first[:, 2].sum()) < 140


def test_units_given_apart_from_the_tokens_win() -> None:
    tokens = Tokens.of([[50, 50]], mask_groups=[[0, 1]])
    _, rows = replace(MASKING, policy=Bernoulli(1.0)).mask(tokens, generator(), groups=torch.tensor([-1, 0]))
    assert rows.tolist() == [1]


@pytest.mark.parametrize("seed", range(5))
def test_whole_units_are_chosen_as_one_after_the_other_would_be(seed):
    """All sequences are walked at once; a unit that does not fit is skipped, and a smaller one after it may fit."""
    layout = SequenceLayout((0, 9, 1, 40, 17, 3, 0))
    chance = torch.Generator().manual_seed(seed)
    groups = torch.randint(6, (layout.total,), generator=chance) + 10 * layout.sequence_ids(torch.device("cpu"))
    draws = torch.rand(100, generator=chance)[groups]
    may = torch.rand(layout.total, generator=chance) < 0.8
    policy = WholeUnitCount(0.4, at_most=9)
    expected = torch.zeros_like(may)
    for first, length in zip(layout.offsets, layout.lengths, strict=False):
        room = min(9, max(1, round(0.4 * length)))
        rows = range(first, first + length)
        for draw in sorted({draws[row].item() for row in rows if may[row]}):
            unit = [row for row in rows if may[row] and draws[row].item() == draw]
            if len(unit) <= room:
                room -= len(unit)
                expected[unit] = True
    assert torch.equal(policy(draws, may, layout), expected)
