"""The feature contract: how region features were made, as a JSON file beside them.

Features of another extractor, colour order or box selection have the same shape, and a model trained on one kind
silently fails on the other. Contracts make the difference detectable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import read_json

CONTRACT = "contract.json"  #: file name in a store; for a file ``x`` it is ``x.contract.json``
UNKNOWN = "unknown"
COLOUR_ORDERS = ("rgb", "bgr", UNKNOWN)
WHICH_REGIONS = ("boxes", "nms", "min_boxes", "max_boxes")  #: values that say which regions have features, not how


@dataclass(frozen=True)
class FeatureContract:
    """Extraction settings that determine the features; ``unknown`` and None are never compared."""

    extractor: str = UNKNOWN  #: ``bottom-up``, ``grid resnet50``, ``patches`` ...
    weights: str = UNKNOWN  #: ``sha256:...`` of the file, or ``none, seed 0``
    colour_order: str = UNKNOWN  #: ``rgb`` or ``bgr``
    means: tuple[float, ...] | None = None  #: subtracted from the channels, in colour order
    stds: tuple[float, ...] | None = None  #: the channels are divided by them
    value_range: int | None = None  #: largest channel value before normalisation: 255 or 1
    resize: str = UNKNOWN  #: rule for the input size
    boxes: str = UNKNOWN  #: ``proposals``, ``regressed`` or ``cells``
    nms: str = UNKNOWN  #: rule of non-maximum suppression, and its threshold
    min_boxes: int | None = None
    max_boxes: int | None = None
    dim: int | None = None  #: feature size
    dtype: str = UNKNOWN  #: of features on disk
    num_classes: int | None = None  #: without the background
    background: str = UNKNOWN  #: its column in class distributions: ``first``, ``last`` or ``none``
    num_attributes: int | None = None  #: without "none"
    settings: dict[str, Any] = field(default_factory=dict)  #: settings that rebuild the extractor


def weights_hash(path: Path) -> str:
    """Identifier of a weights file in a contract, ``sha256:...``."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def differences(ours: FeatureContract, theirs: FeatureContract, ignored: Collection[str] = ()) -> list[str]:
    """Phrases for the values that are known in both contracts and differ, but for those of ignored names.

    >>> differences(FeatureContract(dim=2048, colour_order="rgb"), FeatureContract(dim=1024))
    ['dim is 2048 here and 1024 there']
    """
    found = []
    for name in (each.name for each in fields(FeatureContract) if each.name not in {"settings", *ignored}):
        one, two = getattr(ours, name), getattr(theirs, name)
        if one != two and not {str(one), str(two)} & {UNKNOWN, "None"}:
            found.append(f"{name} is {_shown(one)} here and {_shown(two)} there")
    return found


def require_same(data: FeatureContract, wanted: FeatureContract, source: str) -> None:
    """Refuse features made differently from those a model was trained on; call before a run starts.

    Args:
        data: contract of the features.
        wanted: contract of the features that the weights were trained on.
        source: name of the store, for the message.

    Raises:
        UserError: a value known in both differs.
    """
    if broken := differences(data, wanted):
        raise UserError(
            f"{source} breaks the feature contract of the weights: {'; '.join(broken)}; extract the features as the "
            "weights' were, or train on these"
        )


def inconsistencies(contract: FeatureContract) -> list[str]:
    """Contradictions within a contract: means in the other colour order, more boxes at least than at most."""
    found = []
    means, order = contract.means, contract.colour_order
    # in all common datasets the red mean is the largest and the blue one the smallest (ImageNet: 124, 116, 104)
    if means is not None and len(means) == 3 and means[0] != means[2] and order in ("rgb", "bgr"):
        looks = "rgb" if means[0] > means[2] else "bgr"
        if looks != order:
            found.append(f"colours are said to be {order}, but the means {_shown(means)} are in the order {looks}")
    if contract.min_boxes is not None and contract.max_boxes is not None and contract.min_boxes > contract.max_boxes:
        found.append(f"at least {contract.min_boxes} boxes and at most {contract.max_boxes} are asked for")
    return found


def contract_path(data: Path) -> Path:
    """Path of the contract of a store or feature file."""
    return data / CONTRACT if data.is_dir() else data.with_name(f"{data.name}.{CONTRACT}")


def write_contract(contract: FeatureContract, path: Path) -> None:
    """Write a contract as JSON."""
    write_json(path, asdict(contract), indent=2)


def read_contract(path: Path) -> FeatureContract:
    """Read a contract from JSON.

    Raises:
        UserError: the file is missing, no JSON object, or has an unknown key or an invalid value.
    """
    if not path.is_file():
        raise UserError(f"a feature contract was looked for at {path}, which is not there")
    record = read_json(path)
    known = {each.name: each for each in fields(FeatureContract)}
    if not isinstance(record, dict) or (unexpected := sorted(set(record) - set(known))):
        named = f"; it has {', '.join(unexpected)}" if isinstance(record, dict) else ""
        raise UserError(f"{path} must hold an object with keys of {', '.join(known)}{named}")
    values = {name: _typed(name, value, path) for name, value in record.items()}
    return FeatureContract(**values)


_WHOLE = frozenset({"value_range", "min_boxes", "max_boxes", "dim", "num_classes", "num_attributes"})


def _typed(name: str, value: Any, path: Path) -> Any:
    if name in _WHOLE:
        good = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
    elif name in ("means", "stds"):
        good = value is None or (isinstance(value, list) and all(isinstance(each, int | float) for each in value))
        value = tuple(value) if good and value is not None else value
    elif name == "settings":
        good = isinstance(value, dict)
    else:
        good = isinstance(value, str) and (name != "colour_order" or value in COLOUR_ORDERS)
    if not good:
        raise UserError(f"{path}: {name} cannot be {json.dumps(value)[:60]}")
    return value


def _shown(value: Any) -> str:
    return "(" + ", ".join(f"{each:g}" for each in value) + ")" if isinstance(value, tuple) else str(value)
