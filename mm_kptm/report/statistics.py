"""How sure a number is: intervals, paired differences and permutation tests over groups of examples.

Questions about one scene share its picture, so they are right and wrong together and count for less than as many
questions about different scenes. Everything here therefore draws whole groups, never single examples (the cluster
bootstrap; Davison and Hinkley 1997, section 3.8). Every function that draws takes its generator.

Shapes: N examples, G groups, S draws.
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
_BLOCK = 250_000  # numbers drawn at once: small enough for a processor's cache, some 4 MB with what is read


@dataclass(frozen=True)
class Interval:
    """A mean score, the range that covers the true one with the chance ``level``, and what it rests on."""

    value: float
    low: float
    high: float
    n: int  #: examples
    groups: int
    level: float = LEVEL


@dataclass(frozen=True)
class Spread:
    """The mean over seeds and their sample standard deviation; one seed has none."""

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
    """The mean of scores between 0 and 1, with an interval from drawing whole groups again.

    The quantiles are those of the expanded percentile interval (Hesterberg 2015, "What teachers should know about the
    bootstrap", section 5.2), which corrects the plain one for being too narrow with few groups. Where every group has
    the same mean (all correct, one example, one scene) the draws have no spread at all, and the interval is that of
    Wilson 1927 with one observation per group.

    Args:
        scores: one number per example, [N]; right or wrong, or a partial credit.
        groups: what each example belongs to, [N]; any values that can be compared for equality.
        generator: where the draws come from.
        draws: how many sets of groups are drawn.
        level: the chance with which the interval covers the true mean.
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
    """How much higher the first arm scores than the second on the same examples, by the paired bootstrap.

    Both arms are read on the same draw of groups (Efron and Tibshirani 1993, chapter 8; Koehn 2004 for its use on
    system outputs), so what makes an example hard for both cancels. ``ours`` and ``theirs`` are [N] in one order.
    A difference that is the same in every group has no spread to draw from; its interval is the widest the
    two Wilson intervals allow (Newcombe 1998, method 10). Arms with the same score on every example differ by exactly
    0 on any draw of these examples: the interval is [0, 0].
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


def permutation(
    ours: ArrayLike,
    theirs: ArrayLike,
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> float:
    """How often chance alone parts two equal arms at least this far, in either direction.

    Were the arms equal, exchanging them within a group would change nothing, so the signs of the groups' differences
    are drawn (Good 2005, section 3.2). The value counts the observed arrangement itself and is never zero
    (Phipson and Smyth 2010).
    """
    first, second, members = _paired(ours, theirs, groups)
    sums, _ = _per_group(first - second, members)
    observed = abs(sums.sum())
    reached = 0
    for size in _blocks(draws, len(sums)):
        signs = generator.integers(0, 2, size=(size, len(sums)), dtype=np.int8) * 2.0 - 1.0
        reached += int((np.abs(signs @ sums) >= observed - 1e-9).sum())
    return (reached + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for having asked several questions at once (Holm 1979), in the order given.

    The smallest is multiplied by the number of questions, the next by one less, and none may fall below one before it.

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
    """Mean and standard deviation (divided by n - 1) of one number measured with several seeds."""
    if not values:
        raise UserError("a mean over seeds was asked of no value; give the number of at least one seed")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def wilson(share: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share of ``n`` observations (Wilson 1927); sensible at 0, at 1 and for one observation.

    >>> [round(bound, 3) for bound in wilson(1.0, 10)]
    [0.722, 1.0]
    """
    from scipy.special import stdtrit

    z = float(stdtrit(np.inf, (1 + level) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))  # rounding may pass the share


def _checked(scores: ArrayLike, groups: Sequence[object], what: str) -> tuple[Floats, NDArray[np.int64]]:
    """The scores as numbers and, for each, the number of its group; groups count in order of appearance."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise UserError(f"{what} of shape {list(values.shape)} cannot be summarised; give one number for each example")
    if len(groups) != len(values):
        raise UserError(f"{len(values)} {what} came with {len(groups)} groups; give one group for each example")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(f"number {place} of the {what} is {values[place]}; give finite numbers")
    seen: dict[object, int] = {}
    return values, np.array([seen.setdefault(group, len(seen)) for group in groups], dtype=np.int64)


def _paired(ours: ArrayLike, theirs: ArrayLike, groups: Sequence[object]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    first, members = _checked(ours, groups, "scores of the first arm")
    second, _ = _checked(theirs, groups, "scores of the second arm")
    return first, second, members


def _per_group(values: Floats, members: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Sum and count of each group, [G] each."""
    return np.bincount(members, weights=values).astype(np.float64), np.bincount(members).astype(np.float64)


def _blocks(draws: int, groups: int) -> Iterator[int]:
    """Sizes that add up to ``draws``, each small enough to hold in memory times ``groups``."""
    size = max(1, _BLOCK // groups)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _means(sums: Floats, counts: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """The mean over examples of ``draws`` sets of G groups drawn with replacement, [S]."""
    means = []
    for size in _blocks(draws, len(sums)):
        drawn = generator.integers(0, len(sums), size=(size, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _quantiles(means: Floats, mean: float, groups: int, level: float) -> tuple[float, float]:
    """The two ends of the expanded percentile interval, never short of the mean itself."""
    from scipy.special import stdtrit

    reach = float(stdtrit(groups - 1, (1 + level) / 2)) * sqrt(groups / (groups - 1))
    tail = erfc(reach / sqrt(2)) / 2  # the normal's share beyond the reach of the t interval
    low, high = np.quantile(means, [tail, 1 - tail])
    return min(float(low), mean), max(float(high), mean)
