"""Tokenizers: from text to pieces that know the characters they stand for.

Every tokenizer of the suite answers :meth:`Tokenizer.encode` with :class:`Pieces` and has the same five special tokens,
so that sources, the masking engine and entity linking need not know which one they were given.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers, pre_tokenizers

from mm_kptm.errors import UserError


@dataclass(frozen=True)
class Pieces:
    """A text in pieces, without special tokens."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]  #: as the vocabulary spells them
    spans: tuple[tuple[int, int], ...]  #: first character of the text, and the one after the last

    def covering(self, start: int, end: int) -> range:
        """The pieces that stand for any of the characters from ``start`` up to ``end``.

        None where a tokenizer drops all of these.

        >>> Pieces((7, 8, 9), ("in", "ro", "##me"), ((0, 2), (3, 5), (5, 7))).covering(3, 7)
        range(1, 3)
        """
        first = bisect_right(self.spans, start, key=itemgetter(1))
        behind = bisect_left(self.spans, end, key=itemgetter(0)) if start < end else first
        return range(first, max(first, behind))


@dataclass(frozen=True)
class Specials:
    """The ids of the tokens that stand for no text."""

    pad: int
    unknown: int
    start: int
    stop: int  #: at the end of every part
    mask: int
    between: int = 1  #: how many stops stand between two parts; RoBERTa and its kin have two, and no segments

    @property
    def never_hidden(self) -> frozenset[int]:
        """What the masking engine leaves alone."""
        return frozenset({self.pad, self.start, self.stop})

    def around(self, parts: int) -> int:
        """How many of them stand around so many parts."""
        return 1 + parts + (parts - 1) * (self.between - 1)


#: How BERT's vocabulary files, and Number World, spell the special tokens.
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer(Protocol):
    """What the suite asks of a tokenizer."""

    specials: Specials
    vocabulary: tuple[str, ...]  #: every piece; its place is its id

    def __len__(self) -> int:
        """Number of ids."""

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text; only tokenizers that cut languages differently look at ``language``."""


def framed(specials: Specials, *parts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids and segments of ``[CLS] A [SEP] B [SEP]``; a part's segment is its number, its ``[SEP]`` included.

    >>> framed(Specials(0, 1, 2, 3, 4), (7, 8), (9,))
    ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])

    RoBERTa's ``<s> A </s></s> B </s>``:

    >>> framed(Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2), (7, 8), (9,))
    ([0, 7, 8, 2, 2, 9, 2], [0, 0, 0, 0, 0, 1, 1])
    """
    ids, segments = [specials.start], [0]
    for number, part in enumerate(parts, 1):
        stops = specials.between if number < len(parts) else 1
        ids += [*part, *[specials.stop] * stops]
        segments += [number - 1] * (len(part) + stops)
    return ids, segments


class WordPiece:
    """BERT's tokenizer: clean, cut at blanks, punctuation and ideographs, then the longest known pieces.

    The behaviour of the released ``FullTokenizer`` (Devlin et al. 2019). A word without match, or of more than
    ``longest_word`` characters (200 there, 100 in Hugging Face's), becomes ``[UNK]`` as a whole. Markers such as
    ``[MASK]`` inside a text are plain text.

    Args:
        vocabulary: every piece; its place is its id (the last place of one that is there twice).
        lowercase: lower-case and strip accents, as uncased models do; cased ones do neither.
        ideographs: cut at ideographs; ERNIE of Tsinghua does not.
        name: says in messages where the vocabulary came from.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool,
        ideographs: bool = True,
        longest_word: int = 200,
        name: str = "the vocabulary",
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        ids = {piece: place for place, piece in enumerate(self.vocabulary)}
        self.specials = _specials(ids, name)
        self._engine = Engine(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=longest_word))
        self._engine.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=ideographs, strip_accents=lowercase, lowercase=lowercase
        )
        self._engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    @classmethod
    def open(cls, path: str | Path, *, lowercase: bool, ideographs: bool = True, longest_word: int = 200) -> WordPiece:
        """From a ``vocab.txt``, or from a folder that holds one.

        Raises:
            UserError: there is none, it is empty or no UTF-8, or it is no vocabulary of this kind.
        """
        file = Path(path)
        if file.is_dir():
            file /= "vocab.txt"
        if not file.is_file():
            raise UserError(f"a vocabulary was looked for in {file}, but there is no such file")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is no UTF-8 text: byte {error.start} cannot be read") from None
        pieces = [line.strip() for line in text.removesuffix("\n").split("\n")]  # U+2028 is a piece, no line end
        if not any(pieces):
            raise UserError(f"{file} is empty; a vocabulary has one piece a line")
        return cls(pieces, lowercase=lowercase, ideographs=ideographs, longest_word=longest_word, name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text in any language."""
        encoded = self._engine.encode(text, add_special_tokens=False)
        return Pieces(tuple(encoded.ids), tuple(encoded.tokens), tuple(encoded.offsets))


class WordLevel:
    """Whole words, cut by a rule that is given; a word that is not known becomes ``[UNK]``.

    Args:
        vocabulary: every word; its place is its id.
        split: the words of a lower-cased text in a language, each found in it in order.
        language: of texts whose language is not said.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(
        self, vocabulary: Sequence[str], split: Callable[[str, str], Sequence[str]], *, language: str = "en"
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: place for place, word in enumerate(self.vocabulary)}
        self.specials = _specials(self._ids, "the vocabulary")
        self._split = split
        self._language = language

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The words of a text in its language."""
        # a letter whose small form is longer than itself would shift every span behind it
        lowered = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
        words = tuple(self._split(lowered, language or self._language))
        spans, end = [], 0
        for word in words:
            first = lowered.index(word, end)
            end = first + len(word)
            spans.append((first, end))
        ids = tuple(self._ids.get(word, self.specials.unknown) for word in words)
        return Pieces(ids, words, tuple(spans))


def _specials(ids: Mapping[str, int], name: str) -> Specials:
    missing = [special for special in BERT_SPECIALS if special not in ids]
    if missing:
        raise UserError(f"{name} has no {', '.join(missing)}; a vocabulary holds {', '.join(BERT_SPECIALS)}")
    return Specials(*(ids[special] for special in BERT_SPECIALS))
