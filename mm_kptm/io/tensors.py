"""Atomic writing of named tensors to a safetensors file, and copies of tensors for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mm_kptm.io.atomic import atomic_path

Value = TypeVar("Value")
Memory: TypeAlias = tuple[int, torch.Size, tuple[int, ...]]


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous tensors under their names.

    Raises:
        UserError: as :func:`mm_kptm.io.atomic.atomic_file`.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # the library reports the system error only in its message
            if (refused := re.search(r"os error (\d+)", str(error))) is None:
                raise
            number = int(refused[1])
            raise OSError(number, os.strerror(number)) from error


def memory_of(tensor: Tensor) -> Memory:
    """Where a tensor lies; tied ones lie at one place."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def host_copy(value: Value) -> Value:
    """A value of dicts, lists and tuples with its tensors copied to the memory of the host; tied ones stay tied."""
    return cast(Value, _copied(value, {}))


def _copied(value: object, copies: dict[Memory, Tensor]) -> object:
    if isinstance(value, Tensor):
        if not value.numel():
            return value.detach().to("cpu", copy=True)
        memory = memory_of(value)
        if memory not in copies:
            copies[memory] = value.detach().to("cpu", copy=True)
        return copies[memory]
    if isinstance(value, Mapping):
        return {key: _copied(part, copies) for key, part in value.items()}
    if isinstance(value, list):
        return [_copied(part, copies) for part in value]
    return tuple(_copied(part, copies) for part in value) if isinstance(value, tuple) else value
