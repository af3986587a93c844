"""Checkpoint files: safetensors, torch archives without code, and numpy archives."""

from __future__ import annotations

import pickle
import struct
import zipfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mm_kptm.errors import UserError

_PICKLE_REFUSED = (
    "{path} holds more than tensors, and reading it would run code from the file; if you trust where it comes from, "
    "load it once with torch.load(..., weights_only=False) yourself and save its state dict as .safetensors"
)


#: Errors that torch's reader raises on a truncated or corrupt file.
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
    """Contents of a checkpoint file."""

    tensors: dict[str, Tensor]  #: by published name
    config: dict[str, Any]  #: the trainer's settings, saved under ``params`` (XLM) or ``args`` (fairseq), by that name


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, see :func:`read_checkpoint`."""
    return read_checkpoint(path).tensors


def read_checkpoint(path: Path | str) -> Checkpoint:
    """The contents of a .safetensors, .pt, .pth, .bin or .npy file; no code in it is ever run.

    A ``.npy`` file holds one tensor, which has no name of its own.

    A state dict nested under ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped; top-level state dicts
    ``encoder`` and ``decoder`` are merged under these prefixes.

    Raises:
        UserError: no such file, another suffix, a corrupt file, or a pickle of more than tensors.
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
        # a namespace is a plain container; its values are checked by the same rule
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
