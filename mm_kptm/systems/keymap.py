"""Translation of published parameter names to those of this package, by rules.

Every published key is renamed, dropped for a stated reason, or reported; every parameter of the model is filled or
reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.rules import Copies, Drop, OneOf, Placing, Rename, Rule, Same, Split, Take, Transpose


class UnmappedKeys(UserError):
    """A checkpoint that does not fit a model; the message lists the missing and the unexpected keys."""


@dataclass
class TranslatedState:
    """A checkpoint translated by rules."""

    tensors: dict[str, Tensor] = field(default_factory=dict)  #: by parameter name of the model
    placed: dict[str, str] = field(default_factory=dict)  #: published key -> parameter name(s)
    left: dict[str, str] = field(default_factory=dict)  #: published key -> reason for dropping it
    strangers: list[str] = field(default_factory=list)  #: published keys without a rule
    second: set[str] = field(default_factory=set)  #: parameter names that are alternatives to the first, see OneOf


@cache
def _pattern(theirs: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\}|\[[^\]]*\])", theirs)
    seen: set[str] = set()
    pattern = ""
    for part in parts:
        if part.startswith("{"):
            name = part[1:-1]
            kind = r"\d+" if name == "i" else r"[^.]+"
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{kind})"
            seen.add(name)
        elif part.startswith("["):
            pattern += f"(?:{re.escape(part[1:-1])})?"
        else:
            pattern += re.escape(part)
    return re.compile(pattern)


_SPELLINGS = {"gamma": "weight", "beta": "bias"}


#: What wrappers put into names: data parallelism, torch.compile, FSDP, recomputation, Lightning's strategies.
_WRAPPERS = frozenset(
    {"module", "_module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
)


def plain(key: str) -> str:
    """A published key without wrappers (``module.``) and with modern norm names instead of ``gamma`` and ``beta``.

    >>> plain("module.bert.encoder.layer.0.output.LayerNorm.gamma")
    'bert.encoder.layer.0.output.LayerNorm.weight'
    """
    parts = [part for part in key.split(".") if part not in _WRAPPERS]
    return ".".join([*parts[:-1], _SPELLINGS.get(parts[-1], parts[-1])])


def translate(state: Mapping[str, Tensor], rules: Sequence[Rule], *, ignore: Iterable[str] = ()) -> TranslatedState:
    """Rename a published state by the first rule that fits each key.

    A beginning that the names share, such as Lightning's ``model.``, is taken off where more rules fit without it.

    Args:
        state: published tensors.
        rules: in order.
        ignore: beginnings of published names that stay behind.

    Raises:
        UserError: a key that should repeat another one holds other values; two keys differ in marks of their trainer
            alone, but hold other values; no key begins like one of ``ignore``.
    """
    plain_state = _renamed(state, {key: plain(key) for key in state})
    beginning = _trainers_beginning(plain_state, rules)
    ignored = _ignored(plain_state, beginning, ignore)
    rest = {key.removeprefix(beginning): tensor for key, tensor in plain_state.items() if key not in ignored}
    result = _translated(rest, rules)
    result.left.update(dict.fromkeys(ignored, "was to be ignored"))
    return result


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    firsts: dict[str, str] = {}
    for key, tensor in state.items():
        first = firsts.setdefault(names[key], key)
        if first != key and not torch.equal(renamed[names[key]], tensor):
            raise UserError(f"{first} and {key} of the file are one parameter, but hold other values; drop one of them")
        renamed[names[key]] = tensor
    return renamed


def _ignored(state: Iterable[str], shared: str, beginnings: Iterable[str]) -> set[str]:
    ignored: set[str] = set()
    for beginning in beginnings:
        begun = {key for key in state if key.startswith(beginning) or key.removeprefix(shared).startswith(beginning)}
        if not begun:
            raise UserError(f"no published name begins with {beginning!r}, so nothing there can be ignored")
        ignored |= begun
    return ignored


def _trainers_beginning(state: Iterable[str], rules: Sequence[Rule]) -> str:
    """A beginning of most names that leaves fewer of them without a rule when it is taken off; empty: none."""
    names = list(state)
    unknown, best = _unknown(names, rules), ""
    for beginning in _shared_beginnings(unknown):
        shorter = {name.removeprefix(beginning) for name in names}
        if len(shorter) == len(names) and len(left := _unknown(shorter, rules)) < len(unknown):
            best, unknown = beginning, left
    return best


def _shared_beginnings(names: Sequence[str], most: int = 4) -> list[str]:
    """What more than half of the names begin with, up to a dot, shortest first."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), most + 1)))
    return sorted((start for start, count in counts.items() if 2 * count > len(names)), key=len)


def _unknown(state: Iterable[str], rules: Sequence[Rule]) -> list[str]:
    return [key for key in state if _first(rules, key)[0] is None]


def _translated(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> TranslatedState:
    result = TranslatedState()
    repeats: list[tuple[str, str]] = []
    for key, tensor in state.items():
        rule, found = _first(rules, key)
        if isinstance(rule, Same):
            repeats.append((key, rule.as_.format(**found)))
        elif isinstance(rule, Drop):
            result.left[key] = rule.because
        elif rule is None:
            result.strangers.append(key)
        else:
            _apply(result, key, tensor, rule, found)
    for key, other in repeats:
        _repeat(result, state, rules, key, other)
    return result


def _apply(
    result: TranslatedState, key: str, tensor: Tensor, rule: Placing, found: Mapping[str, str], *, stored: str = ""
) -> None:
    """Place a tensor; ``stored`` is the key it has in the file where ``key`` is another one."""
    names: dict[str, Tensor]
    match rule:
        case Rename(ours=ours):
            names = {ours.format(**found): tensor}
        case Split(ours=several):
            pieces = tensor.chunk(len(several))
            names = {name.format(**found): piece for name, piece in zip(several, pieces, strict=True)}
        case Take(ours=ours, row=number):
            names = {ours.format(**found): tensor[number : number + 1]}
        case Transpose(ours=ours):
            names = {ours.format(**found): tensor.t()}
        case OneOf(ours=several):
            names = dict.fromkeys([name.format(**found) for name in several], tensor)
            result.second.update(list(names)[1:])
        case Copies(ours=several):
            names = dict.fromkeys([name.format(**found) for name in several], tensor)
    result.tensors.update(names)
    result.placed[stored or key] = ", ".join(names)


def _repeat(result: TranslatedState, state: Mapping[str, Tensor], rules: Sequence[Rule], key: str, other: str) -> None:
    """Leave a tied tensor behind, or fill from it where the file holds it under this name alone.

    Raises:
        UserError: the two hold other values.
    """
    chain = [other]
    rule, found = _first(rules, other)
    while isinstance(rule, Same) and (further := rule.as_.format(**found)) not in chain:
        chain.append(further)
        rule, found = _first(rules, further)
    twin = next((state[name] for name in chain if name in state), None)
    if twin is None and isinstance(rule, Rename):
        twin = result.tensors.get(rule.ours.format(**found))  # the file may leave out a part of the other name
    if twin is None:
        if rule is not None and not isinstance(rule, Same | Drop):
            _apply(result, chain[-1], state[key], rule, found, stored=key)
        else:
            result.left[key] = f"repeats {other}"
        return
    if not torch.equal(twin, state[key]):
        raise UserError(f"{key} should repeat {other}, with which it was tied, but holds other values")
    result.left[key] = f"repeats {other}"


def _first(rules: Iterable[Rule], key: str) -> tuple[Rule | None, dict[str, str]]:
    for rule in rules:
        if found := _pattern(rule.theirs).fullmatch(key):
            return rule, found.groupdict()
    return None, {}


def fit(
    translation: TranslatedState,
    expected: Mapping[str, torch.Size],
    *,
    known: Iterable[str] = (),
    fresh: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The tensors that fill exactly the ``expected`` parameters.

    Args:
        translation: the translated checkpoint.
        expected: shape of every parameter of the model.
        known: prefixes of parameters that the recipe knows but this model was built without; such tensors are dropped.
        fresh: prefixes of parameters that may keep their initial values; heads also where the file has another shape.

    Raises:
        UnmappedKeys: a published key has no rule, a parameter is not filled, a rule names no parameter, or a shape
            differs.
    """
    beginnings, unfilled = tuple(known), tuple(fresh)
    excess, shapes = [], []
    resized = {
        name
        for name, tensor in translation.tensors.items()
        if name.startswith("heads.") and name.startswith(unfilled) and tensor.shape != expected.get(name, tensor.shape)
    }
    for name, tensor in translation.tensors.items():
        if name not in expected:
            if not name.startswith(beginnings):
                excess.append(name)
        elif tensor.shape != expected[name] and name not in resized:
            shapes.append(f"{name} {list(tensor.shape)} instead of {list(expected[name])}")
    missing = [name for name in expected if name not in translation.tensors and not name.startswith(unfilled)]
    complaints = [
        ("no rule for published keys", translation.strangers),
        ("nothing fills our parameters", missing),
        ("rules point at parameters we do not have", excess),
        ("other shapes than this model has", shapes),
    ]
    if any(names for _, names in complaints):
        raise UnmappedKeys(
            "this checkpoint does not fit this model:"
            + "".join(_some(text, names) for text, names in complaints)
            + _way_out(translation, expected, missing)
        )
    return {name: translation.tensors[name] for name in expected.keys() - resized if name in translation.tensors}


def _way_out(translation: TranslatedState, expected: Mapping[str, torch.Size], missing: Sequence[str]) -> str:
    """How to load a checkpoint of a published class that lacks some parts or has others."""
    words = []
    if missing and 2 * len(missing) < len(expected):
        words += [f"--fresh {start}" for start in sorted({".".join(name.split(".")[:2]) + "." for name in missing})]
    if translation.strangers and 2 * len(translation.strangers) < len(translation.placed):
        starts = {name.split(".")[0] + "." if "." in name else name for name in translation.strangers}
        starts = {s for s in starts if not any(key.startswith(s) for key in translation.placed)}
        words += [f"--ignore {start}" for start in sorted(starts)]
    if not words:
        return ""
    return f"\n  to keep fresh weights or leave tensors behind: {' '.join(words)} (fresh=[...], ignore=[...] in Python)"


def _some(text: str, names: Sequence[str], most: int = 3) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"\n  {text}: {', '.join(sorted(names)[:most])}{rest}"
