"""Models of SentencePiece (``.model``), read without its library and run by the tokenizers library.

A model file is a protocol buffer: repeated pieces (field 1) with a text, a score and a type, the settings of training
(field 2) and of normalisation (field 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mm_kptm.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  #: types of pieces
SILENT = (UNKNOWN, CONTROL, UNUSED)  #: types of pieces that no text is cut into
MARK = "▁"  #: that begins a word
_UNIGRAM, _BPE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | bytes


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    algorithm: int  #: 1: Unigram, 2: BPE
    charsmap: bytes  #: compiled normalisation rules
    adds_prefix: bool  #: whether a text begins with a space
    removes_spaces: bool  #: whether runs of spaces, and those at the ends, are removed

    @classmethod
    def read(cls, path: Path) -> SentencePieceModel:
        """The model in a file.

        Raises:
            UserError: there is no such file, or it is no model of SentencePiece.
        """
        if not path.is_file():
            raise UserError(f"a model of SentencePiece was looked for in {path}, but there is no such file")
        pieces: list[tuple[str, float, int]] = []
        trained: dict[int, Value] = {}
        normal: dict[int, Value] = {}
        try:
            for field, value in _fields(path.read_bytes()):
                if field == 1 and isinstance(value, bytes):
                    one = dict(_fields(value))
                    score = one.get(2, b"\0\0\0\0")
                    pieces.append(
                        (
                            _bytes(one[1]).decode("utf-8"),
                            struct.unpack("<f", _bytes(score))[0],
                            int(one.get(3, NORMAL)),
                        )
                    )
                elif field == 2 and isinstance(value, bytes):
                    trained = dict(_fields(value))
                elif field == 3 and isinstance(value, bytes):
                    normal = dict(_fields(value))
        except (IndexError, KeyError, ValueError, struct.error) as error:
            raise UserError(f"{path} is no model of SentencePiece, or it was cut short ({error})") from None
        if not pieces:
            raise UserError(f"{path} is no model of SentencePiece: it has no piece")
        texts, scores, types = zip(*pieces, strict=True)
        algorithm = int(trained.get(3, _UNIGRAM))
        if algorithm not in (_UNIGRAM, _BPE):
            raise UserError(f"{path} is a model of words or characters, but only Unigram and BPE models are read")
        return cls(
            texts,
            scores,
            types,
            algorithm,
            _bytes(normal.get(2, b"")),
            bool(normal.get(3, 1)),
            bool(normal.get(4, 1)),
        )

    def engine(self, vocabulary: Sequence[str], unknown: str) -> Tokenizer:
        """A tokenizer that cuts like the model.

        Args:
            vocabulary: every piece in the order of the ids: those of the model, and others in any place.
            unknown: the piece for what the model does not know.
        """
        scores = dict(zip(self.pieces, self.scores, strict=True))
        if self.algorithm == _UNIGRAM:
            spoken = {piece for piece, kind in zip(self.pieces, self.types, strict=True) if kind not in SILENT}
            lowest = min(self.scores)
            # what no text is cut into gets a name that no text has, or it would be taken for unknown signs
            listed = [(piece, scores[piece]) if piece in spoken else (f"\0{piece}", lowest) for piece in vocabulary]
            model: models.Model = models.Unigram(
                listed, unk_id=list(vocabulary).index(unknown), byte_fallback=BYTE in self.types
            )
        else:
            ids = {piece: number for number, piece in enumerate(vocabulary)}
            model = models.BPE(
                ids, self._merges(ids), unk_token=unknown, fuse_unk=True, byte_fallback=BYTE in self.types
            )
        tokenizer = Tokenizer(model)
        steps: list[normalizers.Normalizer] = [normalizers.Precompiled(self.charsmap)] if self.charsmap else []
        if self.removes_spaces:
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        tokenizer.normalizer = normalizers.Sequence(steps)
        scheme = "always" if self.adds_prefix else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=MARK, prepend_scheme=scheme, split=self.algorithm == _UNIGRAM
        )
        return tokenizer

    def _merges(self, ids: dict[str, int]) -> list[tuple[str, str]]:
        """The merges of a BPE model, in the order of the pieces that they make."""
        found = []
        for piece, kind in zip(self.pieces, self.types, strict=True):
            if kind == NORMAL and len(piece) > 1:
                splits = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
                known = [pair for pair in splits if pair[0] in ids and pair[1] in ids]
                found += sorted(known, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        return found


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """The numbers and values of the fields of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(data, place)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, place = _varint(data, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if place + size > len(data):
            raise ValueError("the end is missing")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a text was expected")
    return value
