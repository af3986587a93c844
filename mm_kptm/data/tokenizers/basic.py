"""BERT's basic tokenization: the words of a text before they are cut into pieces, by the rules of the released code.

The rules are those of ``BasicTokenizer`` (Devlin et al. 2019, released code) with Python's own tables of Unicode, which
that code reads as well: control and format characters go, every ideograph and punctuation mark is a word by itself,
and an uncased model lower-cases (a capital sigma at the end of a word becomes ς) and drops non-spacing marks. The
`tokenizers` library departs from them at some code points (sigma, the ideographs U+2B820 to U+2B91F, private use,
characters that are newer than its tables), which is why they are written out here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

#: Blocks of ideographs, first and last code point; kana, hangul and later extensions are written like other words.
IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_SYMBOLS = frozenset("$+<=>^`|~")  # of ASCII; punctuation to BERT, symbols to Unicode
_KEPT_CONTROLS = "\t\n\r"
_SURROGATE_STAND_IN = "\uffff"  # no character: no vocabulary has it, and unlike a surrogate it can be encoded

Character = tuple[str, int]  #: a character of the words, and the place of the one in the text that it comes from


class BasicTokenizer:
    """The words of a text, set apart by single blanks, with the place in the text of each of their characters.

    Args:
        lowercase: lower-case and drop accents.
        ideographs: whether every ideograph is a word.

    >>> BasicTokenizer(lowercase=True)("ΟΔΟΣ, é")
    ('οδος , e', [0, 1, 2, 3, 3, 4, 4, 6])
    """

    def __init__(self, *, lowercase: bool, ideographs: bool = True) -> None:
        self.lowercase = lowercase
        self.ideographs = ideographs

    def __call__(self, text: str) -> tuple[str, Sequence[int]]:
        """The words and, for every character, its place in ``text``; a blank has that of the character before it."""
        kept: Iterable[Character] = [
            (piece, place) for place, letter in enumerate(text) for piece in _cleaned(letter, self.ideographs)
        ]
        if self.lowercase:
            kept = _without_accents(_lowered(list(kept)))
        parts: list[str] = []
        places: list[int] = []
        for letter, place in kept:
            for piece in _apart(letter):
                if piece != " " or (parts and parts[-1] != " "):
                    parts.append(piece)
                    places.append(place if piece != " " else places[-1])
        if parts and parts[-1] == " ":
            del parts[-1], places[-1]
        return "".join(parts), places


@lru_cache(maxsize=2**16)
def _cleaned(letter: str, ideographs: bool) -> str:
    """What a character becomes first: nothing, a blank, itself, or itself between blanks."""
    code = ord(letter)
    if letter in _KEPT_CONTROLS or unicodedata.category(letter) == "Zs":
        return " "
    if code in (0, 0xFFFD) or unicodedata.category(letter) in ("Cc", "Cf"):
        return ""
    if ideographs and any(first <= code <= last for first, last in IDEOGRAPHS):
        return f" {letter} "
    return _SURROGATE_STAND_IN if 0xD800 <= code <= 0xDFFF else letter


@lru_cache(maxsize=2**16)
def _apart(letter: str) -> str:
    """A character as it stands among words: between blanks where it is punctuation, a blank where it separates."""
    if letter.isspace():  # line and paragraph separators, which are no blanks to the cleaning, part words all the same
        return " "
    if letter in _SYMBOLS or unicodedata.category(letter).startswith("P"):
        return f" {letter} "
    return letter


def _lowered(characters: list[Character]) -> Iterable[Character]:
    lowered = "".join(letter for letter, _ in characters).lower()  # as a whole, for the sigma at the end of a word
    places = [place for letter, place in characters for _ in letter.lower()]
    return zip(lowered, places, strict=True)


def _without_accents(characters: Iterable[Character]) -> Iterable[Character]:
    """Decomposed (NFD), then without non-spacing marks."""
    run: list[Character] = []  # marks in a row, which stand in order of their combining class
    for letter, place in characters:
        for part in unicodedata.normalize("NFD", letter):
            if unicodedata.combining(part):
                run.append((part, place))
                continue
            yield from _spacing(run)
            run.clear()
            if unicodedata.category(part) != "Mn":
                yield part, place
    yield from _spacing(run)


def _spacing(run: Sequence[Character]) -> Iterable[Character]:
    ordered = sorted(run, key=lambda mark: unicodedata.combining(mark[0]))
    return [mark for mark in ordered if unicodedata.category(mark[0]) != "Mn"]
