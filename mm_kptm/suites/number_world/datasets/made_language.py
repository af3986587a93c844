"""A language made out of another one, at a distance that is set: its word order, its script and the words both share.

Languages of the world differ in all of these at once; here one is varied and the others are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.generator.captions import CaptionText
from mm_kptm.suites.number_world.generator.language import SPECIALS, WorldVocabulary, vocabulary, words
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES

CODE = "made"  #: the language in ``data.languages``
_LATIN, _GEORGIAN = "abcdefghijklmnopqrstuvwxyz", "აბცდეფგჰიჯკლმნოპქრსთუვწხყზ"
_SCRIPT = str.maketrans(_LATIN, _GEORGIAN)


@dataclass(frozen=True)
class MadeLanguage:
    """A language whose sentences are those of ``base``, reordered and respelt."""

    base: str = "en"  #: language that it is made of
    shared: float = 0.0
    """Share of words spelt as in the base; the others are in a script of their own, and are words of its own."""
    order: Literal["base", "reversed", "rotated"] = "base"  #: word order; rotated: the first half follows the second
    seed: int = 0  #: which words are shared

    def __post_init__(self) -> None:
        if self.base not in LANGUAGES:
            raise UserError(f"data.made.base is {self.base!r}, but Number World speaks {', '.join(LANGUAGES)}")
        if not 0 <= self.shared <= 1:
            raise UserError(f"data.made.shared is {self.shared} but must be a share between 0 and 1")

    def sentence(self, base: CaptionText) -> CaptionText:
        """The sentence of the base in this language; the sign at its end stays there."""
        ended = not base.words[-1].isalnum()
        said = base.words[:-1] if ended else base.words
        match self.order:
            case "reversed":
                said = said[::-1]
            case "rotated":
                middle = len(said) // 2
                said = (*said[middle:], *said[:middle])
        spelt = tuple(self.word(word) for word in (*said, *base.words[len(said) :]))
        return CaptionText(" ".join(spelt), spelt)

    def word(self, word: str) -> str:
        """A word of the base as it is spelt here; signs and figures are the same in both.

        >>> MadeLanguage(shared=1.0).word("red"), MadeLanguage(shared=0.0).word("red")
        ('red', 'რედ')
        """
        if not any(letter.isalpha() for letter in word) or self._shares(word):
            return word
        spelt = word.translate(_SCRIPT)
        return spelt if spelt != word else f"{word}\N{MODIFIER LETTER PRIME}"

    def words(self, text: str, language: str) -> tuple[str, ...]:
        """Split a text into words, between spaces in this language."""
        return tuple(text.split()) if language == CODE else words(text, language)

    def _shares(self, word: str) -> bool:
        """Whether both languages have the word; more of them do as the share grows, and none that did is lost."""
        return crc32(f"{self.seed}|{word}".encode()) / 2**32 < self.shared

    def vocabulary(self) -> WorldVocabulary:
        """The words of all languages and of this one; those of other languages keep their ids."""
        known = vocabulary().words
        own = dict.fromkeys(self.word(word) for word in known if word not in SPECIALS)
        return _Extended((*known, *(word for word in own if word not in vocabulary().ids)))


class _Extended(WorldVocabulary):
    """A vocabulary of given words in the given order."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.ids = {word: id for id, word in enumerate(self.words)}
