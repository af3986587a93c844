"""SigLIP's tokenizer: a model of SentencePiece on texts without capitals and punctuation, closed by ``</s>`` alone."""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Tokenizer as Engine

from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.data.tokenizers.sentencepiece_model import SentencePieceModel
from mm_kptm.data.tokenizers.tokenizer_json import check_numbers
from mm_kptm.errors import UserError

TOKENIZER_CLASS = "SiglipTokenizer"  #: transformers' name
STOP, UNKNOWN = "</s>", "<unk>"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SiglipTokenizer:
    """The tokenizer of Zhai et al. (2023, section 4): pieces of T5, no token in front, padding is ``</s>``.

    The span of a piece counts the characters of the canonical text (:meth:`canonical`).

    Args:
        engine: cuts texts.
        vocabulary: every piece, by id.
        name: its origin, for error messages.

    Raises:
        UserError: the vocabulary has no ``</s>`` or no ``<unk>``.
    """

    def __init__(self, engine: Engine, vocabulary: tuple[str, ...], *, name: str) -> None:
        for piece in (STOP, UNKNOWN):
            if piece not in vocabulary:
                raise UserError(f"{name} has no piece {piece}, which SigLIP's tokenizer has")
        self._engine = engine
        self._engine.no_truncation()
        self._engine.no_padding()
        self._engine.encode_special_tokens = True
        self.vocabulary = vocabulary
        stop, unknown = vocabulary.index(STOP), vocabulary.index(UNKNOWN)
        self.specials = Specials(pad=stop, unknown=unknown, start=stop, stop=stop, mask=unknown, opens=False)

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
        encoded = self._engine.encode(self.canonical(text), add_special_tokens=False)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), tuple(encoded.offsets))
