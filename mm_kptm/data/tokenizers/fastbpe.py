"""Byte-pair encoding as in fastBPE and XLM (Sennrich et al. 2016; Conneau and Lample 2019).

Files: ``codes`` has one merge a line, best first (``left right count``, ``</w>`` at the end of a word);
``vocab`` one piece a line (``piece count``, ``@@`` where the word goes on). Hugging Face has the same in ``vocab.json``
(every piece with its id, ``</w>`` at the end of a word) and ``merges.txt``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers

from mm_kptm.data.tokenizers.moses import origins, segmented
from mm_kptm.data.tokenizers.protocol import Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, read_json
from mm_kptm.io.text_lines import is_count, read_text

#: Special tokens before the words of every XLM vocabulary; ``</s>`` starts and ends texts, ``<special1>`` is the mask.
SPECIAL_TOKENS = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{number}>" for number in range(10)))
_UNKNOWN, _END, _ONWARD = "<unk>", "</w>", "@@"


class FastBpe:
    """XLM's tokenizer, for texts of words between blanks (Moses tokenization, without escapes) or for running text.

    A piece that the vocabulary lacks is ``<unk>``; it is not split further, as merges ignore the vocabulary.

    Args:
        words: the vocabulary after the special tokens, in order of their ids.
        merges: merges of two symbols, best first.
        lowercase: lower-case and strip accents, as the models of 15 languages do; those of 17 and 100 do neither.
        segment_words: whether running text is segmented into words first, as XLM's tools do
            (:func:`~mm_kptm.data.tokenizers.moses.segmented`).
    """

    def __init__(
        self,
        words: Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        lowercase: bool,
        segment_words: bool = False,
    ) -> None:
        self.vocabulary = (*SPECIAL_TOKENS, *words)
        self._ids = {piece: number for number, piece in enumerate(self.vocabulary)}
        special = (self._ids[name] for name in ("<pad>", _UNKNOWN, "</s>", "</s>", "<special1>"))
        self.specials = Specials(*special)
        self.lowercase = lowercase
        self.segment_words = segment_words
        # the engine only segments, so its symbols are those of the merges; any other is a piece by itself
        symbols = dict.fromkeys(chain.from_iterable((left, right, left + right) for left, right in merges))
        numbers = {symbol: number for number, symbol in enumerate((_UNKNOWN, *symbols))}
        self._engine = Engine(
            models.BPE(
                numbers, list(merges), unk_token=_UNKNOWN, fuse_unk=False, end_of_word_suffix=_END, cache_capacity=10000
            )
        )
        self._engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    @classmethod
    def open(cls, codes: str | Path, vocab: str | Path, *, lowercase: bool, segment_words: bool = False) -> FastBpe:
        """From the two published files, such as ``codes_xnli_15`` and ``vocab_xnli_15``.

        Raises:
            UserError: a file is missing, empty or no UTF-8; a line of the codes is no merge.
        """
        words, merges = list(read_words(Path(vocab))), list(read_merges(Path(codes)))
        return cls(words, merges, lowercase=lowercase, segment_words=segment_words)

    @classmethod
    def open_json(
        cls, vocab: str | Path, merges: str | Path, *, lowercase: bool, segment_words: bool = True
    ) -> FastBpe:
        """From ``vocab.json`` and ``merges.txt`` of transformers' ``XLMTokenizer``, which reads running text.

        Raises:
            UserError: a file is missing, empty or no UTF-8; a line is no merge; ids are not 0, 1, 2 and so on; or
                special tokens have other ids than XLM's.
        """
        record = Record.of(read_json(Path(vocab)), str(vocab))
        ids = {piece: record.count(piece) for piece in record.values}
        pieces = sorted(ids, key=ids.__getitem__)
        if sorted(ids.values()) != list(range(len(ids))) or tuple(pieces[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise UserError(
                f"{vocab} is no vocabulary of XLM: ids 0 to {len(SPECIAL_TOKENS) - 1} must be those of "
                f"{', '.join(SPECIAL_TOKENS[:5])} and so on, and the others follow without a gap"
            )
        words = [
            piece.removesuffix(_END) if piece.endswith(_END) else piece + _ONWARD
            for piece in pieces[len(SPECIAL_TOKENS) :]
        ]
        return cls(words, list(read_merges(Path(merges))), lowercase=lowercase, segment_words=segment_words)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language, with their character spans in the given text."""
        words = segmented(text, language) if self.segment_words else text
        places: Sequence[int] = origins(text, words) if self.segment_words else range(len(text))
        normal, letters = self._normal(words)
        ids, texts, spans = [], [], []
        for first, last in self._engine.encode(normal, add_special_tokens=False).offsets:
            goes_on = last < len(normal) and not normal[last].isspace()
            piece = normal[first:last] + (_ONWARD if goes_on else "")
            ids.append(self._ids.get(piece, self.specials.unknown))
            texts.append(piece)
            spans.append((places[letters[first]], places[letters[last - 1]] + 1))
        return Pieces(tuple(ids), tuple(texts), tuple(spans))

    def normalized(self, text: str, language: str | None = None) -> str:
        """The normalised text: segmented, lower-cased and without accents, as far as this tokenizer does so."""
        return self._normal(segmented(text, language) if self.segment_words else text)[0]

    def _normal(self, text: str) -> tuple[str, Sequence[int]]:
        """The normalised text, and the source character of each of its characters."""
        if not self.lowercase:
            return text, range(len(text))
        lowered = text.lower()  # as a whole: final sigma depends on the context
        origins = [number for number, letter in enumerate(text) for _ in letter.lower()]
        kept = [
            (mark, origin)
            for letter, origin in zip(lowered, origins, strict=True)
            for mark in unicodedata.normalize("NFD", letter)
            if unicodedata.category(mark) != "Mn"
        ]
        return "".join(mark for mark, _ in kept), [origin for _, origin in kept]


def is_xlm(vocabulary: object) -> bool:
    """Whether the pieces of a ``vocab.json`` are XLM's."""
    return isinstance(vocabulary, dict) and SPECIAL_TOKENS[-1] in vocabulary and any(_END in p for p in vocabulary)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if not file.is_file():
        raise UserError(f"{file} was to be read for byte-pair encoding, but there is no such file")
    text = read_text(file, "byte-pair encoding", allow_empty=True)
    if not text.strip():
        raise UserError(f"{file} is empty; byte-pair encoding needs one entry a line")
    yield from enumerate(text.removesuffix("\n").split("\n"), 1)


def read_merges(file: Path) -> Iterator[tuple[str, str]]:
    """The merges of a file of codes, best first.

    Raises:
        UserError: it is missing, empty or no UTF-8, or a line is no merge or stands there twice.
    """
    seen: dict[tuple[str, str], int] = {}
    for number, line in _lines(file):
        parts = line.rstrip("\r").split(" ")
        if len(parts) not in (2, 3) or not all(parts):
            raise UserError(f"{file}, line {number}: a merge is 'left right count', not {line!r}")
        merge = parts[0], parts[1]
        if seen.setdefault(merge, number) != number:
            raise UserError(f"{file}, line {number}: the merge {line!r} is already on line {seen[merge]}")
        yield merge


def read_words(file: Path) -> Iterator[str]:
    """The pieces of a vocabulary file; as in the released reader, what is no piece with its count takes no id."""
    seen = set(SPECIAL_TOKENS)
    for _, line in _lines(file):
        parts = line.split()
        if "\u2028" in line or len(parts) != 2 or not is_count(parts[1]) or parts[0] in seen:
            continue
        seen.add(parts[0])
        yield parts[0]
