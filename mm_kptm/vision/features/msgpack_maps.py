"""Subset of MessagePack in UNITER's LMDBs: maps of arrays as written by msgpack-numpy.

An array is a map with the byte keys ``nd``, ``type``, ``kind``, ``shape`` and ``data``.
Format: the MessagePack specification, sections "nil" to "map".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_LENGTHS = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_LENGTHS |= {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}
_DEEPEST = 16  #: deepest nesting of maps


def unpack(data: bytes, source: str) -> Any:
    """Decode ``data``: maps, lists, strings, bytes, numbers and numeric arrays.

    Raises:
        UserError: the data are truncated or hold anything else; the message names ``source``.
    """
    try:
        value, end = _value(memoryview(data), 0, 0)
    except (struct.error, IndexError, ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{source} is no MessagePack record: {error}") from None
    if end != len(data):
        raise UserError(f"{source} holds {len(data) - end} bytes after its MessagePack record")
    return value


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode a map of arrays as msgpack-numpy does with ``use_bin_type``."""
    packed = bytearray([0x80 | len(arrays)])
    for name, array in arrays.items():
        packed += _text(name) + b"\x85" + _binary(b"nd") + b"\xc3" + _binary(b"type") + _text(array.dtype.str)
        packed += _binary(b"kind") + _binary(b"") + _binary(b"shape") + bytes([0x90 | array.ndim])
        packed += b"".join(_whole(size) for size in array.shape)
        packed += _binary(b"data") + _binary(np.ascontiguousarray(array).tobytes())
    return bytes(packed)


def _text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + struct.pack(">B", len(data))) + data


def _binary(data: bytes) -> bytes:
    code, kind = next(
        (c, k) for c, k, top in ((0xC4, ">B", 2**8), (0xC5, ">H", 2**16), (0xC6, ">I", 2**32)) if len(data) < top
    )
    return bytes([code]) + struct.pack(kind, len(data)) + data


def _whole(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    code, kind = next(
        (c, k) for c, k, top in ((0xCC, ">B", 2**8), (0xCD, ">H", 2**16), (0xCE, ">I", 2**32)) if number < top
    )
    return bytes([code]) + struct.pack(kind, number)


def _value(data: memoryview, at: int, depth: int) -> tuple[Any, int]:
    """Value at offset ``at``, and the offset of the next one."""
    if depth > _DEEPEST:
        raise ValueError(f"maps lie more than {_DEEPEST} deep")
    code = data[at]
    at += 1
    if code < 0x80 or code >= 0xE0:
        return code - (0x100 if code >= 0xE0 else 0), at
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at
    if code in _NUMBERS:
        kind = _NUMBERS[code]
        return struct.unpack_from(kind, data, at)[0], at + struct.calcsize(kind)
    if code < 0xC0:
        length = code & (0x1F if code >= 0xA0 else 0x0F)
    elif code in _LENGTHS:
        length = struct.unpack_from(_LENGTHS[code], data, at)[0]
        at += struct.calcsize(_LENGTHS[code])
    else:
        raise ValueError(f"code {code:#x} is no number, text, list or map")
    if 0xA0 <= code < 0xC0 or 0xC4 <= code <= 0xC6 or 0xD9 <= code <= 0xDB:
        if at + length > len(data):
            raise ValueError("it is cut short")
        raw = bytes(data[at : at + length])
        return (raw if 0xC4 <= code <= 0xC6 else raw.decode()), at + length
    return _many(data, at, length, depth, is_map=code < 0x90 or code >= 0xDE)


def _many(data: memoryview, at: int, length: int, depth: int, *, is_map: bool) -> tuple[Any, int]:
    if length > len(data) - at:
        raise ValueError("it is cut short")
    items = []
    for _ in range(length * (1 + is_map)):
        item, at = _value(data, at, depth + 1)
        items.append(item)
    if not is_map:
        return items, at
    mapping = dict(zip(items[::2], items[1::2], strict=True))
    return (_array(mapping) if b"nd" in mapping else mapping), at


def _array(record: dict[Any, Any]) -> Any:
    kind = record[b"type"]
    dtype = np.dtype(kind if isinstance(kind, str) else bytes(kind).decode())
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype} is not of numbers")
    array = np.frombuffer(record[b"data"], dtype)
    return array.reshape(record[b"shape"]) if record[b"nd"] else array[0].item()
