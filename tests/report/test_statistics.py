"""Intervals cover what they should, tests find effects and only effects."""

from math import erfc

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.report import statistics
from mm_kptm.report.statistics import bootstrap, difference, holm, over_seeds, permutation, wilson


def clustered(generator: np.random.Generator, groups: int, size: int, mean: float) -> tuple[np.ndarray, list[int]]:
    """Right and wrong answers that agree within a group far more than chance would have it."""
    ease = generator.beta(2 * mean, 2 * (1 - mean), size=groups)
    scores = (generator.random((groups, size)) < ease[:, None]).astype(float)
    return scores.ravel(), [group for group in range(groups) for _ in range(size)]


def test_intervals_cover_the_truth_when_examples_share_scenes():
    """95 % intervals by scene cover 0.7 in 90 to 99 % of 300 simulated tests; ignoring scenes they would not."""
    generator = np.random.default_rng(0)
    by_scene = by_example = 0
    for _ in range(300):
        scores, groups = clustered(generator, 30, 8, 0.7)
        found = bootstrap(scores, groups, generator, draws=400)
        by_scene += found.low <= 0.7 <= found.high
        naive = bootstrap(scores, range(len(scores)), generator, draws=400)
        by_example += naive.low <= 0.7 <= naive.high
    assert 0.90 <= by_scene / 300 <= 0.99
    assert by_example / 300 < 0.80


def test_a_known_effect_is_found():
    generator = np.random.default_rng(1)
    theirs, groups = clustered(generator, 80, 5, 0.5)
    ours = np.where(generator.random(len(theirs)) < 0.3, 1.0, theirs)
    gap = difference(ours, theirs, groups, generator)
    assert gap.value == pytest.approx(float((ours - theirs).mean()))
    assert 0 < gap.low < gap.value < gap.high
    assert permutation(ours, theirs, groups, generator, draws=2000) < 0.01


def test_no_effect_is_found_where_there_is_none():
    """Of 200 comparisons of arms that differ by noise alone, about one in twenty is called significant at 5 %."""
    generator = np.random.default_rng(2)
    p_values, covered = [], 0
    for _ in range(200):
        theirs, groups = clustered(generator, 40, 3, 0.6)
        ours = theirs + np.repeat(generator.normal(0, 0.2, size=40), 3)
        p_values.append(permutation(ours, theirs, groups, generator, draws=300))
        gap = difference(ours, theirs, groups, generator, draws=300)
        covered += gap.low <= 0 <= gap.high
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.11
    assert 0.90 <= covered / 200 <= 0.99


def test_groups_widen_the_interval():
    scores, groups = clustered(np.random.default_rng(3), 40, 10, 0.6)
    together = bootstrap(scores, groups, np.random.default_rng(0))
    apart = bootstrap(scores, range(len(scores)), np.random.default_rng(0))
    assert together.value == apart.value
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert (together.n, together.groups, apart.groups) == (400, 40, 400)


def test_independent_examples_have_the_textbook_interval():
    scores = np.tile([0.0, 1.0, 1.0, 1.0], 500)
    found = bootstrap(scores, range(2000), np.random.default_rng(0))
    assert found.value == 0.75
    half = 1.96 * np.sqrt(0.75 * 0.25 / 2000)
    assert found.low == pytest.approx(0.75 - half, abs=2e-3)
    assert found.high == pytest.approx(0.75 + half, abs=2e-3)


def test_the_same_seed_gives_the_same_interval_whatever_the_groups_are_called():
    scores, groups = clustered(np.random.default_rng(4), 20, 4, 0.5)
    named = [f"scene {group}" for group in groups]
    assert bootstrap(scores, groups, np.random.default_rng(7)) == bootstrap(scores, named, np.random.default_rng(7))


class Counting(np.random.Generator):
    """A generator that counts the numbers it draws."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.drawn = 0

    def integers(self, *arguments, size, **options):
        self.drawn += int(np.prod(size))
        return super().integers(*arguments, size=size, **options)

    def multinomial(self, n, shares, size):
        self.drawn += size * len(shares)
        return super().multinomial(n, shares, size=size)

    def binomial(self, n, share, size):
        self.drawn += int(np.prod(size))
        return super().binomial(n, share, size=size)


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_the_work_of_an_interval_grows_with_the_kinds_of_groups_only(n):
    """Two kinds of single examples, three of paired differences (two of absolute ones): as many numbers a draw."""
    ours, theirs = ((np.random.default_rng(seed).random(n) < 0.6).astype(float) for seed in (0, 1))
    for measure, kinds in ((bootstrap, 2), (difference, 3), (permutation, 2)):
        generator = Counting()
        measure(*((ours,) if measure is bootstrap else (ours, theirs)), range(n), generator, draws=500)
        assert generator.drawn == 500 * kinds, measure


class OneByOne(np.random.Generator):
    """A generator whose multinomial numbers count the kinds among groups drawn one by one."""

    def __init__(self, seed: int, kinds: np.ndarray) -> None:
        super().__init__(np.random.PCG64(seed))
        self.kinds = kinds

    def multinomial(self, n, shares, size):
        drawn = self.kinds[self.integers(0, n, size=(size, n))]
        return np.stack([(drawn == kind).sum(axis=1) for kind in range(len(shares))], axis=1)


def test_a_resample_has_the_same_mean_whether_its_groups_or_their_kinds_are_drawn(monkeypatch):
    """Exact equality for the same resample; group sizes differ, so the kinds differ by sum and by count."""
    groups = [group for group in range(200) for _ in range(1 + group % 3)]
    scores = (np.random.default_rng(5).random(len(groups)) < 0.7).astype(float)
    sums, counts = np.bincount(groups, weights=scores), np.bincount(groups)
    kinds = np.unique(sums + 1j * counts, return_inverse=True)[1]
    by_kind = bootstrap(scores, groups, OneByOne(3, kinds), draws=1000)
    monkeypatch.setattr(statistics, "_BINOMIAL", len(groups))  # never cheaper
    assert by_kind == bootstrap(scores, groups, np.random.default_rng(3), draws=1000)


def test_counts_of_kinds_follow_the_exact_distribution(monkeypatch):
    """Means of 5 right or wrong groups, 3 of them right, are Binomial(5, 0.6) / 5; chi-squared with 5 degrees."""
    monkeypatch.setattr(statistics, "_BINOMIAL", 0)
    sums = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    means = statistics._means(sums, np.ones(5), np.random.default_rng(0), 50_000)
    expected = 50_000 * np.array([0.01024, 0.0768, 0.2304, 0.3456, 0.2592, 0.07776])
    found = np.bincount(np.rint(5 * means).astype(int), minlength=6)
    assert ((found - expected) ** 2 / expected).sum() < 15.09  # 1 %


def test_the_signs_of_equal_gaps_follow_the_exact_distribution(monkeypatch):
    """Gaps 1, 1, -1 and 2: of 16 arrangements of signs, 8 reach the sum of 3 (5 once, 3 three times, and mirrored)."""
    ours, theirs = [1.0, 1.0, 0.0, 2.0], [0.0, 0.0, 1.0, 0.0]
    assert permutation(ours, theirs, range(4), np.random.default_rng(0), draws=20_000) == pytest.approx(0.5, abs=0.02)
    monkeypatch.setattr(statistics, "_BINOMIAL", 0)
    assert permutation(ours, theirs, range(4), np.random.default_rng(0), draws=20_000) == pytest.approx(0.5, abs=0.02)


def test_many_groups_of_many_kinds_are_drawn_in_strata_and_vary_as_they_do():
    """By the variance of a ratio of sums, and by that of random signs; the work does not grow with the groups."""
    sizes = np.random.default_rng(0).integers(1, 6, 40_000)
    sums = sizes * np.random.default_rng(1).beta(0.4, 0.3, len(sizes))
    generator = Counting()
    means = statistics._means(sums, sizes.astype(float), generator, 4_000)
    assert generator.drawn == 4_000 * 256
    mean = sums.sum() / sizes.sum()
    assert means.mean() == pytest.approx(mean, abs=1e-4)
    assert means.std() == pytest.approx(np.sqrt(((sums - mean * sizes) ** 2).sum()) / sizes.sum(), rel=0.04)

    groups, generator = np.arange(40_000).repeat(sizes), Counting()
    scores, others = (np.random.default_rng(seed).random(len(groups)) for seed in (2, 3))
    moved = np.clip(scores + 0.001, 0, 1)
    gaps = np.bincount(groups, moved - others)
    z = abs(gaps.sum()) / np.sqrt((gaps**2).sum())
    found = permutation(moved, others, groups, generator, draws=4_000)
    assert generator.drawn == 4_000 * 256
    assert found == pytest.approx(erfc(z / np.sqrt(2)), abs=0.03)


@pytest.mark.parametrize(
    ("scores", "groups"),
    [([1.0], ["a"]), ([1.0] * 50, range(50)), ([1.0, 0.0, 1.0], ["a"] * 3), ([0.0] * 5, "abcde"), ([0.5, 0.5], "ab")],
    ids=["one example", "all correct", "one scene", "none correct", "no spread"],
)
def test_where_nothing_varies_the_interval_is_still_wide(scores, groups):
    found = bootstrap(scores, list(groups), np.random.default_rng(0))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.05


@pytest.mark.parametrize("scores", [[1.0] * 20, [0.0] * 20, [0.0, 1.0] * 10, [1 / 3, 0.1 + 0.2] * 10, [0.5]])
def test_identical_predictions_differ_by_exactly_nothing(scores):
    rounded = [score + 1e-16 for score in scores]  # as means over seeds round
    groups = [place // 3 for place in range(len(scores))]
    for ours, theirs in ((scores, scores), (scores, rounded), (rounded, scores)):
        gap = difference(ours, theirs, groups, np.random.default_rng(0))
        assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0) and gap.n == len(scores)
        assert permutation(ours, theirs, groups, np.random.default_rng(0)) == 1.0


def test_a_difference_that_is_the_same_in_every_group_still_has_an_interval():
    gap = difference([1.0] * 20, [0.0] * 20, range(20), np.random.default_rng(0))
    assert gap.value == 1.0 and 0.7 < gap.low < 1.0 == gap.high


def test_wilson_agrees_with_the_formula_solved_by_hand():
    """z = 1.959964 and 8 right of 10: centre (0.8 + 0.19207) / 1.38415, half 1.95996 / 1.38415 x 0.15915."""
    low, high = wilson(0.8, 10)
    assert low == pytest.approx(0.4902, abs=5e-4)
    assert high == pytest.approx(0.9433, abs=5e-4)


def test_holm_agrees_with_a_case_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04; none may fall."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_seed_has_no_spread():
    assert over_seeds([0.5]).std is None
    spread = over_seeds([0.1, 0.2, 0.3])
    assert (spread.mean, spread.std, spread.n) == (pytest.approx(0.2), pytest.approx(0.1), 3)


@pytest.mark.parametrize(
    ("scores", "groups", "message"),
    [
        ([], [], r"scores of shape \[0\] cannot be summarised; give one number for each example"),
        ([[1.0]], ["a"], r"scores of shape \[1, 1\] cannot be summarised"),
        ([1.0, 0.0], ["a"], "2 scores came with 1 groups; give one group for each example"),
        ([1.0, float("nan")], ["a", "b"], "number 1 of the scores is nan; give finite numbers"),
        ([1.0, 81.0], ["a", "b"], "scores between 1 and 81; a score is a share, between 0 and 1"),
    ],
)
def test_scores_that_cannot_be_summarised_are_refused(scores, groups, message):
    with pytest.raises(UserError, match=message):
        bootstrap(scores, groups, np.random.default_rng(0))


def test_arms_of_different_length_are_refused():
    with pytest.raises(UserError, match="3 scores of the second arm came with 2 groups"):
        difference([1.0, 0.0], [1.0, 0.0, 1.0], ["a", "b"], np.random.default_rng(0))


def test_no_seed_has_no_mean():
    with pytest.raises(UserError, match="a mean over seeds was asked of no value"):
        over_seeds([])
