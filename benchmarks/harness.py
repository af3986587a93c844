"""Time variants of one piece of work against each other so that the neighbours of a shared machine cannot decide.

Every round runs each variant once, in an order that rotates; the ratio to the peer is formed inside the round, where
both met the same neighbours. The clock is the CPU time of this process on one thread, or the wall on several.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

PEER = "peer"
OURS = "ours"
NOISY = 0.10  #: an inter-quartile range beyond this share of the median says more of the neighbours than of us


class Unequal(Exception):
    """A variant does not do the peer's work; its time would mean nothing."""


@dataclass(frozen=True)
class Case:
    """One piece of work in several variants, of which one is called ``peer`` and one ``ours``."""

    name: str
    title: str
    unit: str  #: what ``work`` counts
    work: float  #: in one call of any variant
    variants: Mapping[str, Callable[[], float]]  #: each does the work once and returns how much that was
    check: Callable[[], dict[str, float]]  #: greatest differences from the peer by name, or :class:`Unequal`
    sizes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the peer: the median over rounds, and the middle half of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, peer: Sequence[float], other: Sequence[float]) -> Ratio:
        """From the times of the same rounds."""
        ratios = [theirs / ours for theirs, ours in zip(peer, other, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, low, high)

    @property
    def noisy(self) -> bool:
        """Whether the rounds disagree too much to be compared with other runs."""
        return self.high - self.low > NOISY * self.median


@dataclass(frozen=True)
class Timing:
    """Seconds of every variant in every round."""

    seconds: Mapping[str, Sequence[float]]
    clock: str

    def median(self, variant: str) -> float:
        """The usual seconds of one variant."""
        return statistics.median(self.seconds[variant])

    def ratio(self, variant: str = OURS, *, to: str = PEER) -> Ratio:
        """How many times faster ``variant`` is than ``to``."""
        return Ratio.of(self.seconds[to], self.seconds[variant])


def order(names: Sequence[str], turn: int) -> list[str]:
    """The variants of one round, each round beginning with another one.

    >>> order(["peer", "ours"], 1)
    ['ours', 'peer']
    """
    start = turn % len(names)
    return [*names[start:], *names[:start]]


def measure(case: Case, *, rounds: int, warmup: int = 2, threads: int = 1) -> Timing:
    """The times of all variants of a case whose parity was checked before.

    Raises:
        Unequal: a variant says that it did more or less than the work.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    names = list(case.variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(-warmup, rounds):
            for name in order(names, turn):
                start = clock()
                done = case.variants[name]()
                taken = clock() - start
                if done != case.work:
                    raise Unequal(f"{case.name}: {name} did {done} of {case.work} {case.unit}")
                if turn >= 0:
                    seconds[name].append(taken)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return Timing(seconds, "cpu" if threads == 1 else "wall")


def within(differences: Mapping[str, float], limits: Mapping[str, float], case: str) -> dict[str, float]:
    """The differences as they are, once each is within its limit.

    Raises:
        Unequal: one is not, or is not a number.
    """
    for name, limit in limits.items():
        if not differences[name] <= limit:
            raise Unequal(f"{case}: {name} differs by {differences[name]:.3g} from the peer, more than {limit:.3g}")
    return dict(differences)
