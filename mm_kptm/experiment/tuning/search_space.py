"""Search space of a sweep: which keys of an experiment take which values.

A range is written ``log:1e-5:1e-3``, ``uniform:0:0.3`` or ``int:2:12:2`` (with a step), a choice as a list,
``16,32,64`` on the command line and ``[16, 32, 64]`` in an experiment file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import yaml

from mm_kptm.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value: TypeAlias = bool | int | float | str
RANGES = ("log", "uniform", "int")
_FORMS = "log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or int:LOW:HIGH:STEP, or a list such as 16,32,64"


@dataclass(frozen=True)
class Choice:
    """Some values, without order."""

    values: tuple[Value, ...]

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that an experiment must take for the whole space to fit."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Numbers between two, both included."""

    kind: str  #: one of ``RANGES``
    low: float
    high: float
    step: int = 1  #: of whole numbers

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), step=self.step)
        return FloatDistribution(self.low, self.high, log=self.kind == "log")

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that an experiment must take for the whole space to fit."""
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)


Space: TypeAlias = Mapping[str, Choice | Range]


def parse_space(asked: Mapping[str, str | Sequence[Value]]) -> dict[str, Choice | Range]:
    """The search space of keys and what they may be.

    Raises:
        UserError: there is no key, or a range is malformed.
    """
    if not asked:
        raise UserError(
            "there is nothing to search; name keys with --over, such as --over train.lr=log:1e-5:1e-3, or in a block "
            "sweep of the experiment file"
        )
    return {key: _parse(key, given) for key, given in asked.items()}


def split_over(text: str) -> tuple[str, str]:
    """Key and values of ``--over KEY=VALUES``; ``UserError`` where it has another form."""
    key, equals, values = text.partition("=")
    if not key or not equals or not values:
        raise UserError(f"--over is {text!r} but has the form KEY=VALUES, such as train.lr=log:1e-5:1e-3")
    return key.removeprefix("--"), values


def _parse(key: str, given: str | Sequence[Value]) -> Choice | Range:
    if not isinstance(given, str):
        return _choice(key, list(given))
    kind, colon, rest = given.partition(":")
    if colon and kind in RANGES:
        return _range(key, given, kind, rest.split(":"))
    if colon and kind.isalpha() and "," not in given:
        raise UserError(f"sweep of {key} is {given!r}{nearest(kind, RANGES, otherwise='it has the form ' + _FORMS)}")
    return _choice(key, [_value(key, word.strip()) for word in given.strip("[]").split(",")])


def _choice(key: str, values: list[Value]) -> Choice:
    if not values:
        raise UserError(f"sweep of {key} is an empty list; give it the values to try")
    return Choice(tuple(values))


def _range(key: str, given: str, kind: str, ends: list[str]) -> Range:
    numbers = [_value(key, end) for end in ends]
    fits = len(ends) == 2 or (kind == "int" and len(ends) == 3)
    wanted = int if kind == "int" else int | float
    if not fits or any(isinstance(number, bool) or not isinstance(number, wanted) for number in numbers):
        raise UserError(f"sweep of {key} is {given!r} but has the form {_FORMS}")
    low, high, *step = (float(number) for number in numbers)
    if low >= high or (kind == "log" and low <= 0) or (step and step[0] < 1):
        limits = "0 < LOW < HIGH" if kind == "log" else "LOW < HIGH" + ", and STEP at least 1" * (kind == "int")
        raise UserError(f"sweep of {key} is {given!r}, but {limits} must hold")
    return Range(kind, low, high, int(step[0]) if step else 1)


def _value(key: str, text: str) -> Value:
    """A scalar as experiment files have it."""
    from mm_kptm.config.document import flat, split

    value = flat(split(f"--{key}={text}")[1])
    if not isinstance(value, bool | int | float | str):
        raise UserError(f"sweep of {key} holds {text!r}, which is no number, word, true or false")
    return value


def as_override(key: str, value: Value) -> str:
    """The override that gives a key a value."""
    return f"--{key}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}"
