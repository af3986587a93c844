"""Compiled normalisation rules of SentencePiece: a double-array trie from characters to what replaces them.

The bytes hold the length of the trie, its units of 32 bits, and all replacements, each ended by a zero byte. A unit has
its label in the low 8 bits, in bit 8 whether a key ends at it, in the upper 22 the offset of its children, as
Darts-clone lays them out; the child without a label holds the place of the replacement.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from mm_kptm.errors import UserError

_LEAF = 1 << 31
_ENDS = 1 << 8
_MOST = 1 << 21  #: units that an offset without a shift reaches

Trie = dict[int, "Trie | int"]  #: children by byte; under 0 the place of the replacement


def build_charsmap(rules: Mapping[str, str]) -> bytes:
    """Rules as ``tokenizers.normalizers.Precompiled`` takes them; empty where there are none.

    Args:
        rules: what every character, or text, is replaced by; a zero character is left as it is.

    Raises:
        UserError: there are more rules than a trie holds.
    """
    trie: Trie = {}
    texts = bytearray()
    for key, text in sorted(rules.items()):
        if not key or "\0" in key or "\0" in text:
            continue
        node = trie
        for byte in key.encode("utf-8"):
            child = node.setdefault(byte, {})
            assert isinstance(child, dict)  # only 0, which no key holds, leads to a number
            node = child
        node[0] = len(texts)
        texts += text.encode("utf-8") + b"\0"
    if not trie:
        return b""
    units = _units(trie)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(texts)


def _units(trie: Trie) -> list[int]:
    """The double array; its length is a multiple of 256, so that no byte leads out of it."""
    units: dict[int, int] = {}
    taken = {0}
    first = 1  # every place below is taken
    waiting: list[tuple[int, Trie]] = [(0, trie)]
    labels = {0: 0}
    while waiting:
        place, node = waiting.pop()
        while first in taken:
            first += 1
        least = min(node)
        base = next(
            base
            for base in (at ^ least for at in range(first, 2 * _MOST))
            if base and all((base ^ byte) not in taken for byte in node)
        )
        if max(base, place) >= _MOST:
            raise UserError("there are more rules of normalisation than a trie holds")
        units[place] = labels[place] | (_ENDS if 0 in node else 0) | ((place ^ base) << 10)
        for byte, child in node.items():
            taken.add(base ^ byte)
            if isinstance(child, dict):
                labels[base ^ byte] = byte
                waiting.append((base ^ byte, child))
            else:
                units[base ^ byte] = child | _LEAF
    return [units.get(place, 0) for place in range((max(units) // 256 + 1) * 256)]
