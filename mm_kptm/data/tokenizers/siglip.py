"""SigLIP's tokenizers, which put nothing in front of a text and an end behind it.

SigLIP's is a model of SentencePiece on texts without capitals and punctuation; that of SigLIP 2 is Gemma's, on texts
without capitals (Tschannen et al. 2025, section 2.1).
"""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Tokenizer as Engine

from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.data.tokenizers.sentencepiece_model import SentencePieceModel
from mm_kptm.data.tokenizers.tokenizer_json import check_numbers
from mm_kptm.errors import UserError

TOKENIZER_CLASS = "SiglipTokenizer"  #: transformers' name
GEMMA_CLASS = "Siglip2Tokenizer"  #: transformers' name for that of SigLIP 2
STOP, UNKNOWN = "</s>", "<unk>"
_GEMMA_STOP, _GEMMA_PAD = "<eos>", "<pad>"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SiglipTokenizer:
    """The tokenizer of Zhai et al. (2023, section 4): pieces of T5, no token in front, padding is ``</s>``.

    A vocabulary with ``<eos>`` and without ``</s>`` is Gemma's, that of SigLIP 2: texts keep their punctuation, padding
    is ``<pad>``. The span of a piece counts the characters of the text as it is cut.

    Args:
        engine: cuts texts.
        vocabulary: every piece, by id.
        name: its origin, for error messages.

    Raises:
        UserError: the vocabulary has no ``</s>`` or no ``<unk>``.
    """

    def __init__(self, engine: Engine, vocabulary: tuple[str, ...], *, name: str) -> None:
        self._gemma = _GEMMA_STOP in vocabulary and STOP not in vocabulary
        ends = _GEMMA_STOP if self._gemma else STOP
        for piece in (ends, UNKNOWN, _GEMMA_PAD if self._gemma else ends):
            if piece not in vocabulary:
                raise UserError(f"{name} has no piece {piece}, which SigLIP's tokenizer has")
        self._engine = engine
        self._engine.no_truncation()
        self._engine.no_padding()
        self._engine.encode_special_tokens = True
        self.vocabulary = vocabulary
        stop, unknown = vocabulary.index(ends), vocabulary.index(UNKNOWN)
        pad = vocabulary.index(_GEMMA_PAD) if self._gemma else stop
        self.specials = Specials(pad=pad, unknown=unknown, start=stop, stop=stop, mask=unknown, opens=False)

    @classmethod
    def open(cls, path: Path) -> SiglipTokenizer:
        """From ``spiece.model``, or a ``tokenizer.json`` of transformers.

        Raises:
            UserError: the file cannot be read, or it lacks a special token.
        """
        if path.suffix != ".json":
            read = SentencePieceModel.read(path)
            return cls(read.engine(read.pieces, UNKNOWN), read.pieces, name=str(path))
        try:
            engine = Engine.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"{path} is no tokenizer of the tokenizers library: {error}") from None
        ids = engine.get_vocab(with_added_tokens=True)
        check_numbers(ids.values(), str(path))
        pieces = {number: piece for piece, number in ids.items()}
        return cls(engine, tuple(pieces.get(number, "") for number in range(max(pieces) + 1)), name=str(path))

    def __len__(self) -> int:
        return len(self.vocabulary)

    @staticmethod
    def canonical(text: str) -> str:
        """The text as it is cut, as in the released code: ``_`` is a blank, other punctuation is nothing.

        >>> SiglipTokenizer.canonical("A cat's  ice_cream, please!")
        'a cats ice cream please'
        """
        return " ".join(text.replace("_", " ").translate(_PUNCTUATION).lower().split())

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        cut = text.lower() if self._gemma else self.canonical(text)
        encoded = self._engine.encode(cut, add_special_tokens=False)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), tuple(encoded.offsets))
