"""Folders as they are published: which files hold the weights, and the configuration beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError, notice
from mm_kptm.io.records import read_json, shown
from mm_kptm.systems.checkpoint_files import Checkpoint, read_checkpoint

CONFIG = "config.json"
INDEX = ".index.json"  #: how the name of an index of several files ends

#: In the order in which they are looked for, which is Hugging Face's.
CHECKPOINT_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "weights.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.bin",
    "model.pt",
)
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


@dataclass(frozen=True)
class PublishedFiles:
    """The files of one checkpoint."""

    weights: Path  #: a file, or the index of several
    config: dict[str, Any] = field(default_factory=dict)  #: what ``config.json`` beside it says


def published_files(path: Path) -> PublishedFiles:
    """The files of a checkpoint.

    Args:
        path: a folder; one of its files, or an index of several. Beside a file of a usual name, ``config.json`` is
            read, too.

    Raises:
        UserError: the folder holds no checkpoint or a broken ``config.json``, or the file is one of several.
    """
    if not path.is_dir():
        if (shard := _SHARD.fullmatch(path.name)) and path.is_file():
            raise UserError(
                f"{path} is one of {int(shard['count'])} files of a checkpoint; give the folder, which must hold "
                f"{shard['stem']}{shard['suffix']}{INDEX}, too"
            )
        beside = path.name in CHECKPOINT_NAMES
        return PublishedFiles(path, read_config_file(path.parent / CONFIG) if beside else {})
    files = [path / name for name in CHECKPOINT_NAMES if (path / name).is_file()]
    if not files:
        raise UserError(_nothing_in(path))
    if len(files) > 1:
        others = " and ".join(file.name for file in files[1:])
        notice(f"{path} holds {files[0].name}, which is read, and {others}, which is not")
    return PublishedFiles(files[0], read_config_file(path / CONFIG))


def _nothing_in(folder: Path) -> str:
    shards = [shard for file in sorted(folder.iterdir()) if (shard := _SHARD.fullmatch(file.name))]
    if shards:
        index = f"{shards[0]['stem']}{shards[0]['suffix']}{INDEX}"
        return f"{folder} holds {len(shards)} of {int(shards[0]['count'])} files of a checkpoint, but no {index}"
    names = ", ".join(name for name in CHECKPOINT_NAMES if not name.endswith(INDEX))
    return f"{folder} holds no checkpoint; one of {names} was looked for"


def read_config_file(path: Path) -> dict[str, Any]:
    """The fields of a ``config.json``; none where there is no such file.

    Raises:
        UserError: it is empty, no UTF-8, no JSON, or no object.
    """
    if not path.is_file():
        return {}
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise UserError(f"{path} must hold an object of fields, but it is {shown(fields)}")
    return dict(fields)


def read_published(files: PublishedFiles) -> Checkpoint:
    """All tensors of a checkpoint, be it one file or several.

    Raises:
        UserError: as :func:`~mm_kptm.systems.checkpoint_files.read_checkpoint`; an index does not fit its files.
    """
    if not files.weights.name.endswith(INDEX):
        return read_checkpoint(files.weights)
    return Checkpoint(_read_shards(files.weights), {})


def _read_shards(index: Path) -> dict[str, Tensor]:
    where = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(where.values())):
        if not (index.parent / name).is_file():
            raise UserError(f"{index} names {name}, which is not beside it; fetch that file, too")
        held = read_checkpoint(index.parent / name).tensors
        listed = {tensor for tensor, file in where.items() if file == name}
        if missing := sorted(listed - held.keys()):
            raise UserError(f"{index} says that {name} holds {missing[0]}, but it does not; fetch both again")
        if excess := sorted(held.keys() - listed - where.keys()):
            raise UserError(f"{index.parent / name} holds {excess[0]}, which {index.name} does not list; they differ")
        tensors |= {tensor: held[tensor] for tensor in listed}
    return tensors


def _weight_map(index: Path) -> Mapping[str, str]:
    fields = read_config_file(index)
    where = fields.get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
        raise UserError(f"{index} has no 'weight_map' from the names of tensors to those of files")
    for file in where.values():
        if Path(file).name != file:
            raise UserError(f"{index} names {file!r}, but its files must lie beside it")
    return where
