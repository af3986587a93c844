"""Effects and interactions of full factorial designs."""

from itertools import product

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.report.factorial import check_design, contrast, effects

NAMES = ("graph", "picture", "translations")
KEYS = list(product((False, True), repeat=3))


def test_effects_are_the_coefficients_that_made_the_scores() -> None:
    """Scores of 0.1 + 0.2 graph + 0.3 graph x picture, halved by the averaging over the other factors."""
    scores = {key: np.full(6, 0.1 + 0.2 * key[0] + 0.3 * key[0] * key[1]) for key in KEYS}
    expected = {(0,): 0.35, (1,): 0.15, (2,): 0.0, (0, 1): 0.3, (0, 2): 0.0, (1, 2): 0.0, (0, 1, 2): 0.0}
    for members, effect in expected.items():
        np.testing.assert_allclose(contrast(scores, members), effect, atol=1e-12)


def test_the_highest_interaction_is_a_difference_of_differences() -> None:
    draws = np.random.default_rng(0)
    y = {key: draws.random(5) for key in KEYS}

    def with_translations(on: bool) -> np.ndarray:
        return (y[True, True, on] - y[False, True, on]) - (y[True, False, on] - y[False, False, on])

    np.testing.assert_allclose(contrast(y, (0, 1, 2)), with_translations(True) - with_translations(False))
    np.testing.assert_allclose(contrast(y, (0, 1)), (with_translations(True) + with_translations(False)) / 2)


def test_intervals_hold_the_effect_and_no_effect_is_not_found() -> None:
    """A planted interaction of 0.4 on noisy binary answers of 200 groups is found, and the others are not."""
    draws = np.random.default_rng(1)
    groups = [number // 2 for number in range(400)]
    scores = {key: (draws.random(400) < 0.3 + 0.4 * (key[0] and key[1])).astype(float).tolist() for key in KEYS}
    found = {one.factors: one for one in effects(scores, NAMES, groups, np.random.default_rng(0))}
    assert len(found) == 7 and list(found)[:3] == [("graph",), ("picture",), ("translations",)]
    planted = found["graph", "picture"]
    assert planted.name == "graph x picture" and planted.gap.low < 0.4 < planted.gap.high
    assert planted.gap.low > 0.2 and planted.p < 0.01
    assert found["graph", "translations"].gap.low < 0 < found["graph", "translations"].gap.high
    assert found["graph", "picture", "translations"].p > 0.05


def test_seeds_spread_an_effect() -> None:
    scores = {key: [0.5, 0.5] for key in KEYS}
    by_seed = [{key: 0.5 + size * key[0] for key in KEYS} for size in (0.1, 0.3)]
    graph = effects(scores, NAMES, [0, 1], np.random.default_rng(0), by_seed=by_seed)[0]
    assert graph.std == pytest.approx(0.2 / 2**0.5)
    assert (graph.gap.low, graph.gap.high) == (0.0, 0.0)


def test_designs_that_are_not_full_are_refused() -> None:
    levels = {f"arm-{number}": dict(zip(NAMES, key, strict=True)) for number, key in enumerate(KEYS)}
    assert check_design(levels) == NAMES
    assert check_design({"a": {}, "b": {}}) == ()
    with pytest.raises(
        UserError,
        match=r"^a full factorial comparison has an arm for every combination of graph, picture, translations, but "
        r"there is none with graph on, picture on, translations on$",
    ):
        check_design({name: levels[name] for name in list(levels)[:-1]})
    with pytest.raises(UserError, match=r"^arm-0 and again have the same factors \(graph off, picture off"):
        check_design({**levels, "again": levels["arm-0"]})
    with pytest.raises(
        UserError, match=r"^factors of a comparison are the same in all arms, but arm-0 has graph.* and odd has none$"
    ):
        check_design({**levels, "odd": {}})
