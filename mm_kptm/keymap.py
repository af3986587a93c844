"""Checkpoint files, and the maps from published parameter names to ours.

Rules are data. Every published key is renamed, or left behind for a stated reason, or reported; every parameter of ours
is filled, or reported.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mm_kptm.errors import UserError


@dataclass(frozen=True)
class Rename:
    """One published name and ours.

    ``{i}`` stands for a number, any other field for a part without dots; ``[text]`` is a part that may be absent.
    """

    theirs: str
    ours: str


@dataclass(frozen=True)
class Split:
    """A published tensor that packs several of ours along its first axis, in this order."""

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Take:
    """One row of a published table, kept as a table of one row; the others stay behind for a stated reason."""

    theirs: str
    ours: str
    row: int
    because: str


@dataclass(frozen=True)
class Transpose:
    """A published matrix that lies the other way round: Paddle stores those of linear layers as [in, out]."""

    theirs: str
    ours: str


@dataclass(frozen=True)
class Same:
    """A published key that repeats another one, because the two were tied; refused when they differ."""

    theirs: str
    as_: str


@dataclass(frozen=True)
class Drop:
    """A published key that we leave behind, and why."""

    theirs: str
    because: str


@dataclass(frozen=True)
class OneOf:
    """A published name that different tasks gave to different parts of ours; the part that is built takes the tensor.

    When a file is loaded without saying which heads to build, the first one does.
    """

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """A published tensor that several parts of ours start from, such as both sides of a translation model."""

    theirs: str
    ours: tuple[str, ...]


Rule = Rename | Split | Take | Transpose | OneOf | Copies | Same | Drop


class UnmappedKeys(UserError):
    """A checkpoint that does not fit a model; the message lists what is left over on either side."""


@dataclass
class Translation:
    """What became of a checkpoint."""

    tensors: dict[str, Tensor] = field(default_factory=dict)  #: our names
    placed: dict[str, str] = field(default_factory=dict)  #: published key -> our name(s)
    left: dict[str, str] = field(default_factory=dict)  #: published key -> why it stays behind
    strangers: list[str] = field(default_factory=list)  #: published keys that no rule knows
    second: set[str] = field(default_factory=set)  #: our names that are a tensor's second choice, see OneOf


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
    """A published key without the marks of its trainer: ``module.`` anywhere, ``gamma`` and ``beta`` of old norms.

    >>> plain("module.bert.encoder.layer.0.output.LayerNorm.gamma")
    'bert.encoder.layer.0.output.LayerNorm.weight'
    """
    parts = [part for part in key.split(".") if part not in ("module", "_module")]
    return ".".join([*parts[:-1], _SPELLINGS.get(parts[-1], parts[-1])])


def translate(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> Translation:
    """Rename a published state by the first rule that fits each key.

    Raises:
        UserError: a key that should repeat another one holds other values.
    """
    state = {plain(key): tensor for key, tensor in state.items()}
    result = Translation()
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


def _place(result: Translation, key: str, tensors: Mapping[str, Tensor]) -> None:
    result.tensors.update(tensors)
    result.placed[key] = ", ".join(tensors)


def fit(
    translation: Translation,
    wanted: Mapping[str, torch.Size],
    *,
    known: Iterable[str] = (),
    fresh: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The tensors that fill exactly the ``wanted`` parameters.

    Args:
        translation: of the checkpoint.
        wanted: shape of every parameter of the model.
        known: beginnings of names that the recipe knows but this model was built without; such tensors stay behind.
        fresh: beginnings of names that may stay as they are when nothing fills them.

    Raises:
        UnmappedKeys: a published key has no rule, a parameter of ours stays empty, a rule points nowhere, or a shape
            differs.
    """
    beginnings = tuple(known)
    excess, shapes = [], []
    for name, tensor in translation.tensors.items():
        if name not in wanted:
            if not name.startswith(beginnings):
                excess.append(name)
        elif tensor.shape != wanted[name]:
            shapes.append(f"{name} {list(tensor.shape)} instead of {list(wanted[name])}")
    unfilled = tuple(fresh)
    missing = [name for name in wanted if name not in translation.tensors and not name.startswith(unfilled)]
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
    return {name: translation.tensors[name] for name in wanted if name in translation.tensors}


def _some(text: str, names: Sequence[str], most: int = 3) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"\n  {text}: {', '.join(sorted(names)[:most])}{rest}"


_PICKLE_REFUSED = (
    "{path} holds more than tensors, and reading it would run code from the file; if you trust where it comes from, "
    "load it once with torch.load(..., weights_only=False) yourself and save its state dict as .safetensors"
)


#: In how many ways torch's reader fails on a file that is not whole.
_TORN = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    tensors: dict[str, Tensor]  #: published names
    config: dict[str, Any]  #: what its trainer noted under ``params`` (XLM) or ``args`` (fairseq), by that name


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, see :func:`read_checkpoint`."""
    return read_checkpoint(path).tensors


def read_checkpoint(path: Path | str) -> Checkpoint:
    """What a .safetensors, .pt, .pth, .bin or .npy file holds; no code in it is ever run.

    A ``.npy`` file holds one tensor, which has no name of its own.

    A file that wraps its state dict under ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped; of one that
    has an ``encoder`` and a ``decoder`` side by side, these become the beginnings of the names.

    Raises:
        UserError: no such file, another ending, a torn file, or a pickle that is more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .safetensors, .pt, .pth, .bin or .npy file")
    if path.suffix == ".safetensors":
        try:
            return Checkpoint(load_file(path), {})
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} is no whole safetensors file ({error}); fetch or convert it again") from None
    if path.suffix == ".npy":
        try:
            return Checkpoint({"": torch.from_numpy(np.load(path, allow_pickle=False))}, {})
        except (ValueError, EOFError, OSError, TypeError) as error:
            raise UserError(f"{path} is no whole array of numbers ({_sentence(error)}); fetch it again") from None
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise UserError(f"{path} is no checkpoint that can be read; .safetensors, .pt, .pth, .bin and .npy files can")
    return _read_pickle(path)


def _read_pickle(path: Path) -> Checkpoint:
    try:
        # a namespace is no more than a dictionary with another way to ask; its values are held to the same rule
        with torch.serialization.safe_globals([Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "weights_only" in str(error).lower():
            raise UserError(_PICKLE_REFUSED.format(path=path)) from None
        raise UserError(f"{path} is no whole torch file ({_sentence(error)}); fetch it again") from None
    except _TORN as error:
        raise UserError(f"{path} is no whole torch file ({_sentence(error)}); fetch it again") from None
    notes = {name: content[name] for name in ("params", "args") if name in content} if isinstance(content, dict) else {}
    notes = {name: vars(noted) if isinstance(noted, Namespace) else noted for name, noted in notes.items()}
    tensors = _unwrapped(content)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no state dict: a mapping from names to tensors was looked for")
    return Checkpoint(tensors, {name: noted for name, noted in notes.items() if isinstance(noted, dict)})


def _unwrapped(content: Any) -> Any:
    for wrapper in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    sides = ("encoder", "decoder")
    if isinstance(content, dict) and all(isinstance(content.get(side), dict) for side in sides):
        return {f"{side}.{name}": tensor for side in sides for name, tensor in content[side].items()}
    return content


def _sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
