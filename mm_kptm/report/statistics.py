"""Confidence intervals, paired differences and permutation tests over groups of examples.

Scores of questions about one scene are correlated, so they carry less information than scores of as many scenes.
Everything here therefore resamples whole groups, never single examples (cluster bootstrap; Davison and Hinkley 1997,
section 3.8). Every random function takes a generator.

Groups that hold as many examples with the same sum of scores are interchangeable, and there are few kinds of them where
scores are right or wrong. A resample of G groups is then one draw from a multinomial distribution over the kinds
(Efron and Tibshirani 1993, chapter 20), which costs as many binomial numbers as there are kinds, not G numbers: the
same distribution, and a million questions take no longer than a thousand. Where nearly every group is a kind of its
own, the groups are drawn one by one. Many groups of many kinds are drawn in strata of neighbouring kinds, and what
those of a stratum differ by is added as a normal number of its exact variance, a few thousandths of the whole.

Shapes: N examples, G groups, K kinds of groups, H strata, S draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mm_kptm.errors import UserError

Floats = NDArray[np.float64]

DRAWS = 10_000
LEVEL = 0.95
_ROUNDING = 1e-12  # scores nearer than this are equal: means over seeds round
_BLOCK = 250_000  # random numbers drawn at once: about 4 MB with the data, which fits the CPU cache
_BINOMIAL = 16  # a binomial number costs as much as drawing and adding so many groups
_MANY = 1 << 14  # groups, above which they are drawn in strata
_STRATA = 256


@dataclass(frozen=True)
class Interval:
    """Mean score with its confidence interval, numbers of examples and groups, and confidence level."""

    value: float
    low: float
    high: float
    n: int  #: examples
    groups: int
    level: float = LEVEL


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and sample standard deviation (None for one seed)."""

    mean: float
    std: float | None
    n: int  #: seeds


def bootstrap(
    scores: ArrayLike,
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Mean of scores between 0 and 1 with a cluster-bootstrap confidence interval.

    The quantiles are those of the expanded percentile interval (Hesterberg 2015, "What teachers should know about the
    bootstrap", section 5.2), which corrects the percentile interval for being too narrow with few groups. Where every
    group has the same mean (all correct, one example, one scene) the bootstrap distribution is degenerate, and the
    interval is that of Wilson 1927 with one observation per group.

    Args:
        scores: one score per example, [N]; binary or partial credit.
        groups: group of each example, [N]; any hashable values.
        generator: source of randomness.
        draws: number of bootstrap samples.
        level: confidence level.
    """
    values, members = _checked(scores, groups, "scores")
    if values.min() < 0 or values.max() > 1:
        raise UserError(
            f"an interval was asked for scores between {values.min():g} and {values.max():g}; "
            "a score is a share, between 0 and 1"
        )
    sums, counts = _per_group(values, members)
    mean = float(values.mean())
    if np.ptp(sums / counts) < _ROUNDING:
        low, high = wilson(mean, len(sums), level=level)
    else:
        low, high = _quantiles(_means(sums, counts, generator, draws), mean, len(sums), level)
    return Interval(mean, low, high, len(values), len(sums), level)


def difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Mean difference between two arms on the same examples, with a paired-bootstrap interval.

    Both arms are evaluated on the same resampled groups (Efron and Tibshirani 1993, chapter 8; Koehn 2004 for its use
    on system outputs), so the difficulty of an example cancels. ``ours`` and ``theirs`` are [N] in the same order.
    Where the difference is the same in every group the bootstrap distribution is degenerate, and the interval is that
    of Newcombe 1998 (method 10), from the two Wilson intervals. Arms with the same score on every
    example differ by exactly 0 on any resample of these examples: the interval is [0, 0].
    """
    first, second, members = _paired(ours, theirs, groups)
    gaps = first - second
    sums, counts = _per_group(gaps, members)
    if np.abs(gaps).max() < _ROUNDING:
        return Interval(0.0, 0.0, 0.0, len(gaps), len(sums), level)
    mean = float(gaps.mean())
    if np.ptp(sums / counts) < _ROUNDING:
        a, b = float(first.mean()), float(second.mean())
        (a_low, a_high), (b_low, b_high) = (wilson(share, len(sums), level=level) for share in (a, b))
        low, high = mean - sqrt((a - a_low) ** 2 + (b_high - b) ** 2), mean + sqrt((a_high - a) ** 2 + (b - b_low) ** 2)
    else:
        low, high = _quantiles(_means(sums, counts, generator, draws), mean, len(sums), level)
    return Interval(mean, low, high, len(gaps), len(sums), level)


def mean_interval(
    values: ArrayLike,
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Mean of any values, such as differences of differences, with a cluster-bootstrap interval as in `bootstrap`.

    Where every group has the same mean the resamples do not vary, and the interval is that one value.
    """
    found, members = _checked(values, groups, "values")
    sums, counts = _per_group(found, members)
    mean = float(found.mean())
    if np.ptp(sums / counts) < _ROUNDING:
        return Interval(mean, mean, mean, len(found), len(sums), level)
    low, high = _quantiles(_means(sums, counts, generator, draws), mean, len(sums), level)
    return Interval(mean, low, high, len(found), len(sums), level)


def permutation(
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> float:
    """Two-sided p value of a paired permutation test between two arms.

    Under the null hypothesis the arms are exchangeable within a group, so the signs of the group differences are
    drawn at random (Good 2005, section 3.2). The observed arrangement is counted, so p is never zero (Phipson and
    Smyth 2010).
    """
    first, second, members = _paired(ours, theirs, groups)
    sums, _ = _per_group(first - second, members)
    observed = abs(sums.sum())
    reached = 0
    gaps, many = np.unique(np.abs(sums), return_counts=True)  # a sign is drawn, so that of the sum does not matter
    rest = 0.0
    if (strata := _strata(gaps, many)) is not None:
        many, (gaps,), variances = _joined(strata, many, gaps)
        rest = sqrt(variances @ many)
    if rest or len(gaps) * _BINOMIAL < len(sums):
        for size in _blocks(draws, len(gaps)):
            positive = generator.binomial(many, 0.5, size=(size, len(gaps)))
            found = (2 * positive - many) @ gaps
            if rest:
                found = found + generator.normal(0.0, rest, size)
            reached += int((np.abs(found) >= observed - 1e-9).sum())
        return (reached + 1) / (draws + 1)
    for size in _blocks(draws, len(sums)):
        signs = generator.integers(0, 2, size=(size, len(sums)), dtype=np.int8) * 2.0 - 1.0
        reached += int((np.abs(signs @ sums) >= observed - 1e-9).sum())
    return (reached + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-Bonferroni adjusted p values (Holm 1979), in the order of the input.

    The smallest is multiplied by the number of tests, the next by one less, and so on, keeping them non-decreasing.

    >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    scaled = raw[order] * np.arange(len(raw), 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in adjusted]


def over_seeds(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) over seeds."""
    if not values:
        raise UserError("a mean over seeds was asked of no value; give the number of at least one seed")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def wilson(share: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Wilson score interval of a proportion of ``n`` observations (Wilson 1927), valid at 0, at 1 and for n = 1.

    >>> [round(bound, 3) for bound in wilson(1.0, 10)]
    [0.722, 1.0]
    """
    from scipy.special import stdtrit

    z = float(stdtrit(np.inf, (1 + level) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding may exceed the share


def _checked(scores: ArrayLike, groups: Sequence[object], what: str) -> tuple[Floats, NDArray[np.int64]]:
    """Scores as floats and the group index of each, in order of appearance, both [N]."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise UserError(f"{what} of shape {list(values.shape)} cannot be summarised; give one number for each example")
    if len(groups) != len(values):
        raise UserError(f"{len(values)} {what} came with {len(groups)} groups; give one group for each example")
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(f"number {index} of the {what} is {values[index]}; give finite numbers")
    seen: dict[object, int] = {}
    return values, np.array([seen.setdefault(group, len(seen)) for group in groups], dtype=np.int64)


def _paired(ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    first, members = _checked(ours, groups, "scores of the first arm")
    second, _ = _checked(theirs, groups, "scores of the second arm")
    return first, second, members


def _per_group(values: Floats, members: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Sum and count of the scores of each group, [G] each."""
    return np.bincount(members, weights=values).astype(np.float64), np.bincount(members).astype(np.float64)


def _blocks(draws: int, groups: int) -> Iterator[int]:
    """Block sizes that add up to ``draws``, so that a block of draws times ``groups`` stays small."""
    size = max(1, _BLOCK // groups)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _means(sums: Floats, counts: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """Means over examples of ``draws`` bootstrap samples of G groups, [S]."""
    kinds, many = np.unique(sums + 1j * counts, return_counts=True)
    mean, means = float(sums.sum() / counts.sum()), []
    gaps = kinds.real - mean * kinds.imag  # by what a group moves the mean
    strata = _strata(gaps, many)
    if strata is not None:
        groups, (gaps, sizes), variances = _joined(strata, many, gaps, kinds.imag)
        for size in _blocks(draws, len(groups)):
            drawn = generator.multinomial(len(sums), groups / len(sums), size=size)
            rest = np.sqrt(drawn @ variances) * generator.standard_normal(size)
            means.append(mean + (drawn @ gaps + rest) / (drawn @ sizes))
        return np.concatenate(means)
    if len(kinds) * _BINOMIAL < len(sums):
        shares = many / len(sums)
        for size in _blocks(draws, len(kinds)):
            drawn = generator.multinomial(len(sums), shares, size=size)
            means.append((drawn @ kinds.real) / (drawn @ kinds.imag))
        return np.concatenate(means)
    for size in _blocks(draws, len(sums)):
        drawn = generator.integers(0, len(sums), size=(size, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _strata(gaps: Floats, many: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Stratum of each kind, neighbours by their gaps and about as many groups in each, [K]; None: draw the kinds."""
    if many.sum() <= _MANY or len(gaps) <= _STRATA:
        return None
    order = gaps.argsort(kind="stable")
    strata = np.empty(len(gaps), np.int64)
    strata[order] = (many[order].cumsum() - 1) * _STRATA // many.sum()
    return np.unique(strata, return_inverse=True)[1]


def _joined(
    strata: NDArray[np.int64], many: NDArray[np.int64], *values: Floats
) -> tuple[NDArray[np.int64], list[Floats], Floats]:
    """Groups of each stratum, [H], means of the values over them, and the variance of the first value within each."""
    groups = np.bincount(strata, many)
    means = [np.bincount(strata, many * value) / groups for value in values]
    variances = np.bincount(strata, many * (values[0] - means[0][strata]) ** 2) / groups
    return groups.astype(np.int64), means, variances


def _quantiles(means: Floats, mean: float, groups: int, level: float) -> tuple[float, float]:
    """Limits of the expanded percentile interval, widened to contain the mean."""
    from scipy.special import stdtrit

    reach = float(stdtrit(groups - 1, (1 + level) / 2)) * sqrt(groups / (groups - 1))
    tail = erfc(reach / sqrt(2)) / 2  # normal tail probability at the t quantile
    low, high = np.quantile(means, [tail, 1 - tail])
    return min(float(low), mean), max(float(high), mean)
