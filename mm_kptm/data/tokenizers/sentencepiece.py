"""Tokenizers from models of SentencePiece: XLM-R's with fairseq's ids, ERNIE-M's with a second cut, and plain ones."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer as Engine

from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.data.tokenizers.sentencepiece_model import MARK, UNKNOWN, SentencePieceModel
from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, SENTINELS, T5_SPECIALS, t5_specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines

#: Signs that ERNIE-M's second cut sets apart, besides ideographs.
SIGNS = frozenset(",;:.?!~，；：。？！《》【】")
#: Special pieces of models that hold them, in the order of BERT's: ALBERT's and RemBERT's, XLNet's, and others.
PLAIN_SPECIALS = (
    ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    ("<pad>", "<unk>", "<cls>", "<sep>", "<mask>"),
    ("<pad>", "<unk>", "<s>", "</s>", "<mask>"),
)


class SentencePiece:
    """A model of SentencePiece with the ids of a vocabulary.

    Args:
        engine: cuts texts.
        vocabulary: every piece, by id.
        specials: ids of the special tokens.
    """

    def __init__(self, engine: Engine, vocabulary: tuple[str, ...], specials: Specials) -> None:
        self._engine = engine
        self._engine.encode_special_tokens = True
        self.vocabulary = vocabulary
        self.specials = specials

    @classmethod
    def fairseq(cls, model: Path, words: Path | None = None) -> SentencePiece:
        """XLM-R's ids: ``<s>``, ``<pad>``, ``</s>``, ``<unk>``, the pieces, ``<mask>`` (fairseq's Dictionary).

        Args:
            model: the model.
            words: ``dict.txt``, a piece and a count a line; without it, the pieces of the model in their order.

        Raises:
            UserError: a file cannot be read, or a line of ``words`` holds no piece and count.
        """
        read = SentencePieceModel.read(model)
        pad, unknown, start, stop, mask = ROBERTA_SPECIALS
        if words is None:
            pieces = [piece for piece in read.pieces if piece not in (unknown, start, stop)]
        else:
            pieces = []
            for number, line in numbered_lines(words):
                piece, _, count = line.rstrip("\n").rpartition(" ")
                if not piece or not count.isdecimal():
                    raise UserError(f"{words}, line {number} is {line[:40]!r}; a piece and its count belong there")
                pieces.append(piece)
        vocabulary = (start, pad, stop, unknown, *pieces, mask)
        specials = Specials(1, 3, 0, 2, len(vocabulary) - 1, between=2)
        return cls(read.engine(vocabulary, unknown), vocabulary, specials)

    @classmethod
    def plain(cls, model: Path, *, sentinels: int | None = None) -> SentencePiece:
        """The ids of the model itself, which holds the special tokens (ALBERT, RemBERT, XLNet, T5).

        Args:
            model: the model.
            sentinels: tokens that stand behind the pieces of T5's model, a hundred as published; mT5's has them among
                its pieces, and no other kind has any. None: it is not known.

        Raises:
            UserError: the file cannot be read, or it lacks a special token; or it may be T5's or SigLIP's.
        """
        read = SentencePieceModel.read(model)
        ids = {piece: number for number, piece in enumerate(read.pieces)}
        for names in PLAIN_SPECIALS:
            if all(name in ids for name in names):
                pad, unknown, start, stop, mask = (ids[name] for name in names)
                unknown_piece = next(
                    (piece for piece, kind in zip(read.pieces, read.types, strict=True) if kind == UNKNOWN), names[1]
                )
                between = 1 if names[2].startswith("[") else 2
                return cls(
                    read.engine(read.pieces, unknown_piece),
                    read.pieces,
                    Specials(pad, unknown, start, stop, mask, between),
                )
        if all(name in ids for name in T5_SPECIALS):
            pad, unknown, stop = (ids[name] for name in T5_SPECIALS)
            if any("<extra_id_" in piece for piece in read.pieces):
                sentinels = 0
            if sentinels is None:
                raise UserError(
                    f"{model} may be of T5, whose vocabulary goes on with {len(SENTINELS)} sentinels, or of SigLIP, "
                    "whose vocabulary ends with it; lay the tokenizer_config.json or the config.json of its release "
                    "beside it"
                )
            vocabulary = (*read.pieces, *(f"<extra_id_{number}>" for number in reversed(range(sentinels))))
            return cls(
                read.engine(vocabulary, T5_SPECIALS[1]),
                vocabulary,
                t5_specials(pad, unknown, stop, mask=ids.get(ROBERTA_SPECIALS[-1])),
            )
        raise UserError(
            f"{model} has no special tokens ({', '.join(PLAIN_SPECIALS[0])}, say), and only sentencepiece.bpe.model of "
            "XLM-R and its kin is read without them"
        )

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language; the span of a piece leaves out spaces around it."""
        encoded = self._engine.encode(text, add_special_tokens=False)
        spans = tuple(_shown(text, start, end) for start, end in encoded.offsets)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), spans)


class ErnieM:
    """ERNIE-M's tokenizer: pieces of SentencePiece, cut again, with the ids of ``vocab.txt`` (Ouyang et al. 2021).

    Ideographs and some signs stand alone, digits are parted from other characters, and a lone word mark is kept only
    between pieces. A part that ``vocab.txt`` lacks is unknown.

    Args:
        engine: cuts texts.
        vocabulary: every piece, by id.
        specials: ids of the special tokens.
    """

    def __init__(self, engine: Engine, vocabulary: tuple[str, ...], specials: Specials) -> None:
        self._engine = engine
        self._engine.encode_special_tokens = True
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        self.vocabulary = vocabulary
        self.specials = specials

    @classmethod
    def open(cls, model: Path, vocabulary: Path) -> ErnieM:
        """From the model and the vocabulary, a piece a line.

        Raises:
            UserError: a file cannot be read, or the vocabulary lacks a special token.
        """
        read = SentencePieceModel.read(model)
        pieces = tuple(line.rstrip("\n") for _, line in numbered_lines(vocabulary))
        ids = {piece: number for number, piece in enumerate(pieces)}
        names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        if missing := [name for name in names if name not in ids]:
            raise UserError(f"{vocabulary} has no {missing[0]}, which ERNIE-M's vocabulary has")
        unknown = next(piece for piece, kind in zip(read.pieces, read.types, strict=True) if kind == UNKNOWN)
        pad, other, start, stop, mask = (ids[name] for name in names)
        specials = Specials(pad, other, start, stop, mask, between=2)
        return cls(read.engine(read.pieces, unknown), pieces, specials)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        encoded = self._engine.encode(text, add_special_tokens=False)
        found: list[tuple[str, tuple[int, int]]] = []
        pieces = encoded.tokens
        for place, (piece, (start, end)) in enumerate(zip(pieces, encoded.offsets, strict=True)):
            if piece == MARK:
                if place and place + 1 < len(pieces) and not pieces[place + 1].startswith(MARK):
                    found.append((piece, _shown(text, start, end)))
                continue
            found += [(part, _shown(text, *span)) for part, span in _cut(piece, start, end)]
        unknown = self.specials.unknown
        ids = tuple(self._ids.get(part, unknown) for part, _ in found)
        return Pieces(ids, tuple(part for part, _ in found), tuple(span for _, span in found))


def _cut(piece: str, start: int, end: int) -> list[tuple[str, tuple[int, int]]]:
    """ERNIE-M's second cut of a piece, each part with its span of the text."""
    parts: list[tuple[int, int]] = []
    first = 0
    for place, char in enumerate(piece):
        if _alone(char):
            parts += [(first, place), (place, place + 1)]
            first = place + 1
        elif place > first and char.isdigit() != piece[place - 1].isdigit():
            parts.append((first, place))
            first = place
    parts.append((first, len(piece)))
    marks = len(piece) - (end - start) if piece.startswith(MARK) else 0
    even = len(piece) - marks == end - start
    return [
        (piece[one:other], (start + max(one - marks, 0), start + max(other - marks, 0)) if even else (start, end))
        for one, other in parts
        if one < other and piece[one:other] != MARK
    ]


def _alone(char: str) -> bool:
    return char in SIGNS or "\u4e00" <= char <= "\u9fff"


def _shown(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without surrounding spaces; unchanged if there is nothing else."""
    shown = text[start:end].strip()
    if not shown:
        return start, end
    start += text[start:end].index(shown)
    return start, start + len(shown)
