"""Tokenizers as the ``tokenizers`` library saves them: byte-level pairs of RoBERTa, unigrams of XLM-R, and others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Engine

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.batch import STARTS, STOPS, Characters, from_encodings
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Pieces, Specials
from mm_kptm.errors import UserError

#: Special tokens of RoBERTa-like tokenizers, in the order of BERT's.
ROBERTA_SPECIALS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")

#: Those of T5, whose texts begin with nothing and whose decoder begins with the padding token.
T5_SPECIALS = ("<pad>", "<unk>", "</s>")
#: The end of T5's vocabulary, the first that is used last (Raffel et al. 2020, released code).
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(99, -1, -1))

_SPARSE, _GAP = 4, 100_000  #: ids may go up to this many times the number of pieces, and this many more


class TokenizerJson:
    """A tokenizer out of a ``tokenizer.json``.

    The span of a piece excludes leading spaces. If the bytes of a character are several pieces, the span of each is the
    whole character. Special tokens such as ``<mask>`` inside a text are plain text.

    Args:
        engine: tokenizer of the library.
        name: its origin, for error messages.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(self, engine: Engine, *, name: str = "the tokenizer") -> None:
        self._engine = engine
        self._engine.no_truncation()
        self._engine.no_padding()
        self._engine.encode_special_tokens = True
        self.specials = _specials(engine, name)
        pieces = {number: piece for piece, number in engine.get_vocab().items()}
        check_numbers(pieces, name)
        self.vocabulary = tuple(pieces.get(number, "") for number in range(max(pieces) + 1))

    @classmethod
    def open(cls, path: str | Path) -> TokenizerJson:
        """From a ``tokenizer.json``, or from a folder that holds one.

        Raises:
            UserError: there is none, or it is of another kind.
        """
        file = Path(path)
        if file.is_dir():
            file /= "tokenizer.json"
        if not file.is_file():
            raise UserError(f"a tokenizer was looked for in {file}, but there is no such file")
        try:
            engine = Engine.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"{file} is no tokenizer of the tokenizers library: {error}") from None
        return cls(engine, name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def words(self) -> tuple[str, ...]:
        """The surface forms of the pieces, without leading spaces."""
        decoder = self._engine.decoder
        shown = self.vocabulary if decoder is None else (decoder.decode([piece]) for piece in self.vocabulary)
        return tuple(word.strip() for word in shown)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        encoded = self._engine.encode(text, add_special_tokens=False)
        spans = tuple(_shown(text, start, end) for start, end in encoded.offsets)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), spans)

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the pieces of every text."""
        return [one.ids for one in self._engine.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_batch(self, texts: Sequence[str]) -> Packed:
        """The pieces of many texts, as :func:`~mm_kptm.data.tokenizers.batch.encode_batch` gives them."""
        found = from_encodings(self._engine.encode_batch(list(texts), add_special_tokens=False))
        characters = Characters.of(texts)
        owner = np.repeat(np.arange(len(texts)), found.lengths)
        blank = np.concatenate([[0], characters.blank.cumsum()])
        starts, stops = (found.columns[name].astype(np.int64) for name in (STARTS, STOPS))
        firsts = characters.firsts[owner]
        for place in np.flatnonzero(blank[np.add(firsts, stops)] > blank[np.add(firsts, starts)]):
            starts[place], stops[place] = _shown(texts[owner[place]], int(starts[place]), int(stops[place]))
        return Packed(found.offsets, {**found.columns, STARTS: starts, STOPS: stops})


def check_numbers(numbers: Collection[int], name: str) -> None:
    """Check that ids of pieces are those of a table; a stray one would take the memory of all below it.

    Raises:
        UserError: an id is negative, or far beyond the number of pieces.
    """
    most = _SPARSE * len(numbers) + _GAP
    for number in numbers:
        if not 0 <= number < most:
            raise UserError(
                f"{name} numbers a piece {number}, but has {len(numbers)} pieces; ids from 0 to {most - 1} are read"
            )


def _specials(engine: Engine, name: str) -> Specials:
    for names, between in ((BERT_SPECIALS, 1), (ROBERTA_SPECIALS, 2)):
        ids = [number for one in names if (number := engine.token_to_id(one)) is not None]
        if len(ids) == len(names):
            pad, unknown, start, stop, mask = ids
            return Specials(pad, unknown, start, stop, mask, between)
    pad_unknown_stop = [number for one in T5_SPECIALS if (number := engine.token_to_id(one)) is not None]
    if len(pad_unknown_stop) == len(T5_SPECIALS):
        return t5_specials(*pad_unknown_stop, mask=engine.token_to_id(ROBERTA_SPECIALS[-1]))
    raise UserError(f"{name} has neither {', '.join(BERT_SPECIALS)} nor {', '.join(ROBERTA_SPECIALS)}")


def t5_specials(pad: int, unknown: int, stop: int, *, mask: int | None = None) -> Specials:
    """The special tokens of T5, which has no mask token as published."""
    return Specials(pad, unknown, start=pad, stop=stop, mask=unknown if mask is None else mask, opens=False)


def _shown(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without surrounding spaces; unchanged if there is nothing else."""
    shown = text[start:end].strip()
    if not shown:
        return start, end
    start += text[start:end].index(shown)
    return start, start + len(shown)
