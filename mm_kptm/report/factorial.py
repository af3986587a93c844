"""Main effects and interactions of a full factorial design: arms with every combination of two-level factors.

Shapes: N examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.report.arms import ReportedArm, scored
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.statistics import Floats, Interval, holm, mean_interval, over_seeds, permutation
from mm_kptm.report.tables import counted

Levels = tuple[bool, ...]  #: whether each factor is present


@dataclass(frozen=True)
class Effect:
    """Main effect of one factor, or interaction of several."""

    factors: tuple[str, ...]
    gap: Interval
    p: float  #: Holm-corrected over all effects
    std: float | None  #: over seeds

    @property
    def name(self) -> str:
        """The factors with crosses between them."""
        return " x ".join(self.factors)


def check_design(factors: Mapping[str, Mapping[str, bool]]) -> tuple[str, ...]:
    """The names of the factors of a full design, in the order of the first arm; none where no arm has any.

    Args:
        factors: levels by factor, by arm.

    Raises:
        UserError: arms name different factors, or a combination is missing or there twice.
    """
    named = {arm: levels for arm, levels in factors.items() if levels}
    if not named:
        return ()
    names = tuple(next(iter(named.values())))
    for arm, levels in factors.items():
        if set(levels) != set(names):
            raise UserError(
                f"factors of a comparison are the same in all arms, but {next(iter(named))} has {', '.join(names)} and "
                f"{arm} has {', '.join(levels) or 'none'}"
            )
    seen: dict[Levels, str] = {}
    for arm, levels in factors.items():
        key = tuple(levels[name] for name in names)
        if (other := seen.setdefault(key, arm)) != arm:
            raise UserError(f"{other} and {arm} have the same factors ({_said(names, key)}); each arm has its own")
    for key in product((False, True), repeat=len(names)):
        if key not in seen:
            raise UserError(
                f"a full factorial comparison has an arm for every combination of {', '.join(names)}, but there is "
                f"none with {_said(names, key)}"
            )
    return names


def contrast(scores: Mapping[Levels, Floats], members: Sequence[int]) -> Floats:
    r"""The effect of some factors on every example, [N]: differences of differences, averaged over the other factors.

    .. math:: \frac{1}{2^{k - m}} \sum_{z \in \{0, 1\}^k} \prod_{i \in M} (2 z_i - 1) \; y_z

    with k factors of which the m in M are asked about (Box, Hunter and Hunter 2005, chapter 5, without the division of
    interactions by two): of one factor the mean difference it makes, of two how much more it makes with the other.

    Args:
        scores: score of every example by the levels of all factors, [N] each.
        members: indices of the factors asked about.
    """
    count = len(next(iter(scores)))
    total = sum(
        (prod(1 if levels[one] else -1 for one in members) * values for levels, values in scores.items()),
        np.zeros_like(next(iter(scores.values()))),
    )
    effect: Floats = np.asarray(total, dtype=np.float64) / 2 ** (count - len(members))
    return effect


def effects(
    scores: Mapping[Levels, Sequence[float]],
    names: Sequence[str],
    groups: Sequence[object],
    generator: np.random.Generator,
    *,
    by_seed: Sequence[Mapping[Levels, float]] = (),
) -> list[Effect]:
    """All main effects, then all interactions, with paired-bootstrap intervals and permutation p values.

    Args:
        scores: mean score over seeds of every example by the levels of the factors, [N] each.
        names: of the factors, in the order of the levels.
        groups: group of every example, [N]; whole groups are drawn.
        generator: source of randomness.
        by_seed: mean scores of every seed, for the standard deviation of an effect over seeds.
    """
    values = {levels: np.asarray(of_arm, dtype=np.float64) for levels, of_arm in scores.items()}
    found: list[tuple[tuple[str, ...], Interval, float, float | None]] = []
    for order in range(1, len(names) + 1):
        for members in combinations(range(len(names)), order):
            per_example = contrast(values, members)
            gap = mean_interval(per_example, groups, generator)
            p = permutation(per_example, np.zeros_like(per_example), groups, generator)
            seeds = [
                float(contrast({key: np.array([mean]) for key, mean in one.items()}, members)[0]) for one in by_seed
            ]
            found.append((tuple(names[one] for one in members), gap, p, over_seeds(seeds).std if seeds else None))
    adjusted = holm([p for _, _, p, _ in found])
    return [Effect(which, gap, p, std) for (which, gap, _, std), p in zip(found, adjusted, strict=True)]


def effects_table(
    arms: Sequence[ReportedArm], factors: Mapping[str, Mapping[str, bool]], split: str, generator: np.random.Generator
) -> Table | None:
    """Table of all effects on the examples of a split; None where the arms have no factors.

    Args:
        arms: those with factors are crossed; others, such as null arms, are left out.
        factors: levels by factor, by arm.
        split: which answers.
        generator: source of randomness.
    """
    crossed = [arm for arm in arms if factors.get(arm.name)]
    names = check_design({arm.name: factors[arm.name] for arm in crossed})
    if not names:
        return None
    of_arm = {
        tuple(factors[arm.name][name] for name in names): {one.prediction.id: one for one in scored(arm, split)}
        for arm in crossed
    }
    shared = sorted(set.intersection(*(set(answers) for answers in of_arm.values())))
    if not shared:
        return None
    first = next(iter(of_arm.values()))
    by_levels = {tuple(factors[arm.name][name] for name in names): arm for arm in crossed}
    found = effects(
        {levels: [answers[one].score for one in shared] for levels, answers in of_arm.items()},
        names,
        [first[one].prediction.group for one in shared],
        generator,
        by_seed=[
            {levels: _mean(arm, split, number) for levels, arm in by_levels.items()}
            for number in range(min(len(arm.runs) for arm in crossed))
        ],
    )
    rows = tuple(
        Row(one.name, "interaction" if len(one.factors) > 1 else "effect", one.gap.value, one.gap.low, one.gap.high,
            one.gap.n, std=one.std, p=one.p)
        for one in found
    )  # fmt: skip
    return Table(
        f"Split {split}, effects of {', '.join(names)}",
        rows,
        "An effect is the mean difference that a factor makes; an interaction how much more it makes with the others "
        f"present. By bootstrap over {counted(found[0].gap.groups, 'group')}; p by permutation of groups, corrected "
        f"after Holm for {counted(len(found), 'effect')}.",
    )


def _mean(arm: ReportedArm, split: str, number: int) -> float:
    known = [one.correct for one in arm.runs[number].predictions.get(split, ()) if one.correct is not None]
    return float(np.mean(known))


def _said(names: Sequence[str], levels: Levels) -> str:
    return ", ".join(f"{name} {'on' if level else 'off'}" for name, level in zip(names, levels, strict=True))
