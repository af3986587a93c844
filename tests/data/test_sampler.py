"""The order of examples."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_kptm.data.sampler import BatchIndices, Sampler, even_shares, in_order, seed_of, seeded, share
from mm_kptm.errors import UserError

LENGTHS = [3 + (i * 37) % 50 for i in range(103)]


def epoch_of(sampler: Sampler, number: int) -> list[BatchIndices]:
    return [draw for draw in islice(sampler, 60) if draw.epoch == number]


def test_an_epoch_holds_every_example_at_most_once_and_all_batches_are_full():
    for number in range(3):
        draws = epoch_of(Sampler(LENGTHS, batch_size=8), number)
        assert [len(draw.indices) for draw in draws] == [8] * 12
        assert len({i for draw in draws for i in draw.indices}) == 96


def test_other_examples_sit_out_in_other_epochs():
    sampler = Sampler(LENGTHS, batch_size=8)
    out = [set(range(103)) - {i for draw in epoch_of(sampler, n) for i in draw.indices} for n in range(3)]
    assert out[0] != out[1] != out[2]


def test_a_batch_is_in_order_of_length_and_of_similar_lengths():
    draws = epoch_of(Sampler(LENGTHS, batch_size=8), 0)
    lengths = [[LENGTHS[i] for i in draw.indices] for draw in draws]
    assert all(batch == sorted(batch) for batch in lengths)
    padded = sum(8 * max(batch) for batch in lengths)
    assert sum(map(sum, lengths)) / padded > 0.9  # an order without pools gives 0.6
    firsts = [batch[0] for batch in lengths]
    assert firsts != sorted(firsts), "short batches must not come first"


def test_the_order_is_that_of_the_seed_on_every_machine():
    assert next(iter(Sampler(LENGTHS, batch_size=4, seed=5))) == BatchIndices(0, 0, (33, 6, 52, 2))
    assert seed_of(1, 2, 3) == 1517167407554927345
    assert seeded(1, 2).initial_seed() == seed_of(1, 2) != seed_of(2, 1)


@pytest.mark.parametrize("max_tokens", [None, 200])
def test_a_restart_anywhere_continues_the_same_order(max_tokens):
    whole = list(islice(Sampler(LENGTHS, batch_size=8, max_tokens=max_tokens, seed=1), 40))
    for done in (0, 1, 11, 12, 13, 39):
        first = Sampler(LENGTHS, batch_size=8, max_tokens=max_tokens, seed=1)
        for draw in whole[:done]:
            first.advance(draw)
        second = Sampler(LENGTHS, batch_size=8, max_tokens=max_tokens, seed=1)
        second.load_state_dict(first.state_dict())
        assert list(islice(second, 40 - done)) == whole[done:]


def test_reading_ahead_does_not_move_the_state():
    sampler = Sampler(LENGTHS, batch_size=8)
    before = sampler.state_dict()
    list(islice(sampler, 20))
    assert sampler.state_dict() == before


def test_a_place_in_another_order_is_refused():
    state = Sampler(LENGTHS, batch_size=8, seed=1).state_dict()
    with pytest.raises(UserError, match="has seed 1 but seed 2 is asked for"):
        Sampler(LENGTHS, batch_size=8, seed=2).load_state_dict(state)
    with pytest.raises(UserError, match="has examples 103 but examples 100 is asked for"):
        Sampler(LENGTHS[:100], batch_size=8, seed=1).load_state_dict(state)


def test_batches_of_rows_keep_the_budget_and_drop_nothing():
    draws = epoch_of(Sampler(LENGTHS, batch_size=8, max_tokens=200), 0)
    assert sorted(i for draw in draws for i in draw.indices) == list(range(103))
    rows = [sum(LENGTHS[i] for i in draw.indices) for draw in draws]
    assert max(rows) <= 200 and sum(rows) / len(rows) > 150


def test_what_does_not_fill_a_batch_of_rows_goes_into_the_next_pool() -> None:
    """Pools that each cut their own rest had steps of one example, at the full learning rate."""
    lengths = [3 + (i * 37) % 50 for i in range(3000)]
    for seed in range(3):
        draws = list(islice(Sampler(lengths, batch_size=8, max_tokens=200, seed=seed), 600))
        rows = [sum(draw.lengths) for draw in draws if draw.epoch == 0]
        assert min(rows) > 100 and sum(rows) == sum(lengths)
        assert all(draw.lengths == tuple(lengths[i] for i in draw.indices) for draw in draws)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_processes_share_a_batch_of_rows_evenly(lengths: list[int], parts: int) -> None:
    shares = even_shares(tuple(lengths), parts)
    assert sorted(place for part in shares for place in part) == list(range(len(lengths)))
    loads = [sum(lengths[place] for place in part) for part in shares]
    assert max(loads) - min(loads) <= max(lengths)
    assert all(list(part) == sorted(part) for part in shares)


def test_an_evaluation_keeps_a_budget_of_rows() -> None:
    batches = in_order(LENGTHS, 8, max_tokens=60)
    assert sorted(i for batch in batches for i in batch) == list(range(103))
    assert all(len(batch) <= 8 and (len(batch) == 1 or sum(LENGTHS[i] for i in batch) <= 60) for batch in batches)
    assert in_order(LENGTHS, 8, max_tokens=10**6) == in_order(LENGTHS, 8)


def test_an_example_above_the_budget_is_named():
    with pytest.raises(UserError, match="example 1 has 9 rows and does not fit into max_tokens 8; raise it to 9"):
        Sampler([2, 9, 3], batch_size=1, max_tokens=8)


def test_no_examples_is_an_error():
    with pytest.raises(UserError, match="there is no example to train on"):
        Sampler([], batch_size=1)


def test_a_source_smaller_than_a_batch_is_one_batch():
    assert sorted(next(iter(Sampler([1, 2, 3], batch_size=8))).indices) == [0, 1, 2]


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 9), st.integers(1, 5))
def test_an_evaluation_sees_every_example_once_however_it_is_shared(lengths, batch_size, processes):
    batches = in_order(lengths, batch_size)
    dealt = [batch for rank in range(processes) for batch in batches[rank::processes]]
    assert sorted(i for batch in dealt for i in batch) == list(range(len(lengths)))
    in_a_row = [lengths[i] for batch in batches for i in batch]
    assert in_a_row == sorted(in_a_row)


@given(st.lists(st.integers(), max_size=20), st.integers(1, 6))
def test_shares_are_a_partition_of_even_sizes(indices, parts):
    shares = [share(indices, part, parts) for part in range(parts)]
    assert sorted(i for part in shares for i in part) == sorted(indices)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("max_tokens", [None, 90])
@pytest.mark.parametrize("examples", [5, 103])
def test_the_batches_of_epochs_are_counted(max_tokens: int | None, examples: int) -> None:
    sampler = Sampler(LENGTHS[:examples], batch_size=8, max_tokens=max_tokens)
    drawn = [draw.epoch for draw in islice(sampler, 400)]
    assert [sampler.num_batches(epochs) for epochs in (1, 3)] == [drawn.index(1), drawn.index(3)]
