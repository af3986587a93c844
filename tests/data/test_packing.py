"""Packed sequences come back as they were."""

from hypothesis import given
from hypothesis import strategies as st

from mm_kptm.data.packing import Packed

LISTS = st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=8)


@given(LISTS, st.data())
def test_any_sequences_come_back_in_any_order(sequences, data):
    packed = Packed.of(ids=sequences)
    order = data.draw(st.lists(st.integers(0, len(sequences) - 1), max_size=10))
    columns, lengths = packed.take(order)
    assert columns["ids"].tolist() == [number for place in order for number in sequences[place]]
    assert lengths == tuple(len(sequences[place]) for place in order)


@given(LISTS, LISTS)
def test_joined_parts_stand_one_behind_the_other(one, other):
    joined = Packed.joined(Packed.of(ids=one, extra=one), Packed.of(ids=other))
    columns, lengths = joined.take(range(len(joined)))
    assert columns["ids"].tolist() == [number for sequence in one + other for number in sequence]
    assert lengths == tuple(map(len, one + other))
    assert list(columns) == ["ids"]
