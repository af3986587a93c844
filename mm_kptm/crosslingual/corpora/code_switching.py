"""Code-switching of training text with bilingual dictionaries: CoSDA-ML (Qin et al. 2020).

Words of English training examples are replaced by translations, drawn anew for every batch; no parallel text is
needed and test text is never switched. A word that the drawn dictionary lacks stays, so that the true rate lies below
the token rate. The draws follow the released code call by call, so that a seed gives its switched text.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_blank, numbered_lines

Item = TypeVar("Item")

#: A word's translations, in the order of the file.
Dictionary = Mapping[str, Sequence[str]]


def read_dictionary(path: Path) -> dict[str, list[str]]:
    """A bilingual dictionary in MUSE's format: a word and a translation per line, parted by a tab or else a space.

    A word that stands in several lines has several translations.

    Raises:
        UserError: a line holds no pair, or the file holds none.
    """
    translations: dict[str, list[str]] = {}
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        word, _, translation = (part.strip() for part in line.strip().partition("\t" if "\t" in line else " "))
        if is_blank(word) or is_blank(translation):
            raise UserError(
                f"{path}, line {number} is {line!r}; a word, a tab or a space, and its translation belong there"
            )
        translations.setdefault(word, []).append(translation)
    if not translations:
        raise UserError(f"{path} is empty; a bilingual dictionary, a pair of words per line, was expected")
    return translations


class CodeSwitcher:
    """Replaces words by translations, each from a dictionary drawn uniformly among the languages.

    Args:
        dictionaries: one per language.
        token_rate: probability that a word is looked up.
        sentence_rate: probability that a sentence (in :meth:`words`: a word) may be switched at all.
        generator: source of the draws.

    Raises:
        UserError: no dictionary, or a rate outside 0 to 1.
    """

    def __init__(
        self,
        dictionaries: Sequence[Dictionary],
        *,
        token_rate: float,
        sentence_rate: float = 1.0,
        generator: random.Random,
    ) -> None:
        if not dictionaries:
            raise UserError("code-switching without a dictionary changes nothing; name one per language")
        for name, rate in (("token", token_rate), ("sentence", sentence_rate)):
            if not 0 <= rate <= 1:
                raise UserError(f"a {name} rate of {rate} is no probability; choose one from 0 to 1")
        self.dictionaries = list(dictionaries)
        self.token_rate = token_rate
        self.sentence_rate = sentence_rate
        self.generator = generator

    def sentence(self, text: str) -> str:
        """Switch a sentence for classification: in lower case, cut at single spaces, a space after every word.

        >>> switcher = CodeSwitcher([{"house": ["Haus"]}], token_rate=1.0, generator=random.Random(0))
        >>> switcher.sentence("The house")
        'the Haus '
        """
        eligible = self._draw(self.sentence_rate)
        words = lowered(text)
        return spaced(self._switched(word) if eligible and self._draw(self.token_rate) else word for word in words)

    def words(self, words: Iterable[str]) -> list[str]:
        """Switch the words of a sentence for slot filling, in their own case, one item per word so that labels stay.

        Both draws are made per word, so that the sentence rate acts as a second token rate.
        """
        return [
            self._switched(word) if self._draw(self.sentence_rate) and self._draw(self.token_rate) else word
            for word in words
        ]

    def dialogue(self, text: str) -> str:
        """Switch a sentence for dialogue state tracking: the language is drawn first, for every word.

        The second draw is made only for words that the drawn dictionary has, so that words of many languages are
        switched more often than by :meth:`sentence`.
        """
        eligible = self._draw(self.sentence_rate)
        switched = []
        for word in lowered(text):
            translations = self._dictionary().get(word)
            if eligible and translations and self._draw(self.token_rate):
                word = self._one_of(translations)
            switched.append(word)
        return spaced(switched)

    def _switched(self, word: str) -> str:
        translations = self._dictionary().get(word)
        return self._one_of(translations) if translations else word

    def _draw(self, rate: float) -> bool:
        return rate >= self.generator.random()

    def _dictionary(self) -> Dictionary:
        return self._one_of(self.dictionaries)

    def _one_of(self, items: Sequence[Item]) -> Item:
        return items[self.generator.randint(0, len(items) - 1)]


def lowered(text: str) -> list[str]:
    """The words of a sentence in lower case, cut at single spaces, as CoSDA-ML reads it in training and evaluation."""
    return text.lower().split(" ")


def spaced(words: Iterable[str]) -> str:
    """Words with a space after each, the last included."""
    return "".join(f"{word} " for word in words)
