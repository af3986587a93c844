"""Examples of a split that cannot be used: how many, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skips:
    """Counts of unusable examples by reason, and the name of the first one.

    Args:
        reasons: number of examples by reason.
        first: the name of the first one; empty where it is not known.
    """

    reasons: Mapping[str, int] = field(default_factory=dict)
    first: str = ""

    @classmethod
    def of(cls, found: Iterable[tuple[str, str]]) -> Skips:
        """From the name of every unusable example and its reason, in order.

        >>> str(Skips.of([("a.jpg", "is an empty file"), ("b.jpg", "is an empty file"), ("c.jpg", "is not there")]))
        'is an empty file (2), is not there (1); the first is a.jpg'
        """
        reasons: dict[str, int] = {}
        first = ""
        for name, reason in found:
            first = first or name
            reasons[reason] = reasons.get(reason, 0) + 1
        return cls(reasons, first)

    def __len__(self) -> int:
        return sum(self.reasons.values())

    def __str__(self) -> str:
        counted = ", ".join(f"{reason} ({count})" for reason, count in self.most_usual.items())
        return f"{counted}; the first is {self.first}" if self.first else counted

    @property
    def most_usual(self) -> dict[str, int]:
        """The reasons, the most usual one first."""
        return dict(sorted(self.reasons.items(), key=lambda one: -one[1]))


NO_SKIPS = Skips()
