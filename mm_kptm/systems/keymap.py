"""Translation of published parameter names to those of this package, by rules.

Every published key is renamed, dropped for a stated reason, or reported; every parameter of the model is filled or
reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.rules import Copies, Drop, OneOf, Rename, Rule, Same, Split, Take, Transpose


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


def plain(key: str) -> str:
    """A published key without wrappers (``module.``) and with modern norm names instead of ``gamma`` and ``beta``.

    >>> plain("module.bert.encoder.layer.0.output.LayerNorm.gamma")
    'bert.encoder.layer.0.output.LayerNorm.weight'
    """
    parts = [part for part in key.split(".") if part not in ("module", "_module")]
    return ".".join([*parts[:-1], _SPELLINGS.get(parts[-1], parts[-1])])


def translate(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> TranslatedState:
    """Rename the keys of a published state dict, each by the first rule that matches.

    Raises:
        UserError: a tied key has different values.
    """
    state = {plain(key): tensor for key, tensor in state.items()}
    result = TranslatedState()
    for key, tensor in state.items():
        rule, found = _first(rules, key)
        match rule:
            case Rename(ours=ours):
                _place(result, key, {ours.format(**found): tensor})
            case Split(ours=ours):
                pieces = tensor.chunk(len(ours))
                _place(result, key, {name.format(**found): p for name, p in zip(ours, pieces, strict=True)})
            case Take(ours=ours, row=number):
                _place(result, key, {ours.format(**found): tensor[number : number + 1]})
            case Transpose(ours=ours):
                _place(result, key, {ours.format(**found): tensor.t()})
            case OneOf(ours=ours):
                names = [name.format(**found) for name in ours]
                _place(result, key, dict.fromkeys(names, tensor))
                result.second.update(names[1:])
            case Copies(ours=ours):
                _place(result, key, {name.format(**found): tensor for name in ours})
            case Same(as_=other):
                twin = state.get(other.format(**found))
                if twin is not None and not torch.equal(twin, tensor):
                    raise UserError(
                        f"{key} should repeat {other.format(**found)}, with which it was tied, but holds other values"
                    )
                result.left[key] = f"repeats {other.format(**found)}"
            case Drop(because=because):
                result.left[key] = because
            case None:
                result.strangers.append(key)
    return result


def _first(rules: Iterable[Rule], key: str) -> tuple[Rule | None, dict[str, str]]:
    for rule in rules:
        if found := _pattern(rule.theirs).fullmatch(key):
            return rule, found.groupdict()
    return None, {}


def _place(result: TranslatedState, key: str, tensors: Mapping[str, Tensor]) -> None:
    result.tensors.update(tensors)
    result.placed[key] = ", ".join(tensors)


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
        fresh: prefixes of parameters that may keep their initial values.

    Raises:
        UnmappedKeys: a published key has no rule, a parameter is not filled, a rule names no parameter, or a shape
            differs.
    """
    beginnings = tuple(known)
    excess, shapes = [], []
    for name, tensor in translation.tensors.items():
        if name not in expected:
            if not name.startswith(beginnings):
                excess.append(name)
        elif tensor.shape != expected[name]:
            shapes.append(f"{name} {list(tensor.shape)} instead of {list(expected[name])}")
    unfilled = tuple(fresh)
    missing = [name for name in expected if name not in translation.tensors and not name.startswith(unfilled)]
    complaints = [
        ("no rule for published keys", translation.strangers),
        ("nothing fills our parameters", missing),
        ("rules point at parameters we do not have", excess),
        ("other shapes than this model has", shapes),
    ]
    if any(names for _, names in complaints):
        raise UnmappedKeys(
            "this checkpoint does not fit this model:" + "".join(_some(text, names) for text, names in complaints)
        )
    return {name: translation.tensors[name] for name in expected if name in translation.tensors}


def _some(text: str, names: Sequence[str], most: int = 3) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"\n  {text}: {', '.join(sorted(names)[:most])}{rest}"
