"""Checkpoint files: safetensors, torch archives without code, and numpy archives.

What a file is follows from its first bytes, not from its name: a pointer of Git LFS, a web page or a packed file is
said to be one.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.arrays import read_array

_PICKLE_REFUSED = (
    "{path} holds more than tensors, and reading it would run code from the file; save its state dict as .safetensors "
    "where the file was written, or ask who published it for one"
)

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npy")
_HEAD = 512  #: bytes that say what a file is
_LFS = b"version https://git-lfs"
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"\x28\xb5\x2f\xfd": "zstd"}

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
    """What a .safetensors, .pt, .pth, .bin, .ckpt or .npy file holds; no code in it is ever run.

    A ``.npy`` file holds one tensor, which has no name of its own. Names that the metadata of a safetensors file
    lists as aliases of a stored tensor, because the two were tied, have that tensor.

    A state dict nested under ``model``, ``state_dict`` or ``model_state_dict`` is unwrapped; top-level state dicts
    ``encoder`` and ``decoder`` are merged under these prefixes.

    Raises:
        UserError: no such file, another ending, a torn file, text in place of weights, or a pickle that is more than
            tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .safetensors, .pt, .pth, .bin or .npy file")
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is no checkpoint that can be read; .safetensors, .pt, .pth, .bin and .npy files can")
    head = _head(path)
    _refuse_other_content(path, head)
    if path.suffix == ".npy":
        try:
            return Checkpoint({"": torch.from_numpy(read_array(path))}, {})
        except TypeError as error:  # a kind of number that torch lacks
            raise UserError(f"{path} is no array of numbers that can be read ({_sentence(error)})") from None
    if _is_safetensors(head) or (path.suffix == ".safetensors" and not _is_torch(head)):
        return _read_safetensors(path)
    return _read_pickle(path)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _refuse_other_content(path: Path, head: bytes) -> None:
    """Say of a file that is no checkpoint what it is instead.

    Raises:
        UserError: the file is packed, a pointer of Git LFS, a web page or another text.
    """
    size = path.stat().st_size
    for first, kind in _PACKED.items():
        if head.startswith(first):
            raise UserError(f"{path} is packed with {kind}; unpack it first")
    if head.startswith(_LFS):
        raise UserError(
            f"{path} is a pointer of Git LFS ({size} bytes of text), not the file itself; fetch that one "
            "with `git lfs pull`"
        )
    text = _text(head)
    if not text:
        return
    if text.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        raise UserError(f"{path} is a web page ({size} bytes), not a checkpoint; fetch the file itself")
    raise UserError(f"{path} is a text file ({size} bytes), not a checkpoint; fetch the file itself")


def _text(head: bytes) -> str | None:
    """The first characters in lower case where a file is text, else None."""
    if head.startswith((b"\xff\xfe<", b"\xfe\xff\x00<")):
        return head.decode("utf-16", errors="replace").lower()
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character may be cut at the end of what was read
            return None
        text = head[: error.start].decode("utf-8-sig")
    if any(not character.isprintable() and character not in "\t\r\n\f" for character in text):
        return None
    return text.lstrip().lower()


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes for the length of a header, which begins with a brace."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _is_torch(head: bytes) -> bool:
    """The first bytes of a zip archive or of a pickle."""
    return head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
            metadata = file.metadata()
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error}); fetch or convert it again") from None
    return Checkpoint({**tensors, **_aliases(tensors, metadata)}, {})


def _aliases(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> dict[str, Tensor]:
    """Names of tied tensors that were stored once: their metadata gives each the name that was stored."""
    said = (metadata or {}).items()
    return {alias: tensors[stored] for alias, stored in said if stored in tensors and alias not in tensors}


def _read_pickle(path: Path) -> Checkpoint:
    try:
        # a namespace is no more than a dictionary with another way to ask; its values are held to the same rule
        with torch.serialization.safe_globals([Namespace]), path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
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
