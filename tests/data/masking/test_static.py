import random
from collections import Counter

from mm_kptm.data.masking.static import Treatment, budget, fitting, mask_units, shuffled


def test_halves_are_rounded_to_even_between_one_and_the_most() -> None:
    assert [budget(length, rate=0.5, at_most=4) for length in (1, 3, 5, 7, 100)] == [1, 2, 2, 4, 4]


def test_units_are_shuffled_as_wholes_and_the_unitless_left_out() -> None:
    order = shuffled([-1, 5, 5, 2, 5, -1], random.Random(0))
    assert sorted(order) == [[1, 2, 4], [3]]
    seen = Counter(str(shuffled([0, 1, 2], random.Random(seed))) for seed in range(600))
    assert len(seen) == 6 and min(seen.values()) > 60


def test_a_unit_that_does_not_fit_is_passed_over() -> None:
    assert list(fitting([[0], [1, 2, 3], [4, 5], [6]], 3)) == [0, 4, 5]
    assert list(fitting([[1, 2]], 1)) == []


def test_hidden_tokens_are_masked_kept_or_replaced() -> None:
    treatment = Treatment(-1, range(100, 110))
    rng = random.Random(0)
    treated = Counter(min(treatment(50, rng), 100) for _ in range(10_000))
    assert set(treated) == {-1, 50, 100}
    assert abs(treated[-1] - 8000) < 160 and abs(treated[50] - 1000) < 120
    assert {treatment.drawn(rng) for _ in range(500)} == set(range(100, 110))


def test_what_was_hidden_is_told_in_order_and_the_rest_left_as_it_was() -> None:
    tokens = list(range(50, 89))
    hidden, stood = mask_units(
        tokens, [place // 3 for place in range(39)], Treatment(0, [1]), random.Random(3), rate=0.4
    )
    assert list(stood) == sorted(stood) and len(stood) == 15, "of 16 that may be hidden, in units of three"
    assert set(Counter(place // 3 for place in stood).values()) == {3}
    assert all(tokens[place] == token for place, token in stood.items())
    assert all(hidden[place] == tokens[place] for place in range(39) if place not in stood)
