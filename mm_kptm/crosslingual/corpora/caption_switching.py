"""Code-switching of captions: words replaced by translations into other languages (Ni et al. 2021, M3P).

Words are looked up as they stand between single spaces, in their own case and with their punctuation. The draws follow
the released code call by call, so that seeds give its switched text.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mm_kptm.errors import UserError

Item = TypeVar("Item")

#: The translations of a word, by language.
Translations = Mapping[str, Sequence[str]]


class CaptionSwitcher:
    """Switches words of captions into languages drawn uniformly among those that translate the word.

    Args:
        dictionary: the translations of every word.
        sentence_rate: probability that a caption is switched at all.
        word_rate: probability that a word of the dictionary is switched, in :meth:`words`.
        generator: source of most draws.
        choices: source of the drawn translations in :meth:`one_word`.

    Raises:
        UserError: an empty dictionary, a word without a translation, or a rate outside 0 to 1.

    >>> house = {"house": {"de": ["Haus"]}}
    >>> switcher = CaptionSwitcher(house, generator=random.Random(0), choices=np.random.RandomState(0))
    >>> switcher.words("The house .")
    'The Haus .'
    """

    def __init__(
        self,
        dictionary: Mapping[str, Translations],
        *,
        sentence_rate: float = 1.0,
        word_rate: float = 1.0,
        generator: random.Random,
        choices: np.random.RandomState,
    ) -> None:
        if not dictionary:
            raise UserError("captions cannot be switched without a dictionary; name translations of words")
        for word, translations in dictionary.items():
            if not translations or not all(translations.values()):
                raise UserError(f"the dictionary of captions names {word!r}, but no translation of it in some language")
        for name, rate in (("sentence", sentence_rate), ("word", word_rate)):
            if not 0 <= rate <= 1:
                raise UserError(f"a {name} rate of {rate} is no probability; choose one from 0 to 1")
        self.dictionary = {word: {**translations} for word, translations in dictionary.items()}
        self._known = list(self.dictionary)
        self.sentence_rate = sentence_rate
        self.word_rate = word_rate
        self.generator = generator
        self.choices = choices

    def words(self, caption: str) -> str:
        """Switch every word of the dictionary with its probability: pairs of image and text, and fine-tuning."""
        if not self._draw(self.sentence_rate):
            return caption
        return " ".join(
            self._translated(word) if word in self.dictionary and self._draw(self.word_rate) else word
            for word in caption.split(" ")
        )

    def one_word(self, caption: str, positives: int = 1, negatives: int = 0) -> list[str]:
        """Switch one word of the dictionary, drawn uniformly among those of the caption: masked captions.

        Args:
            caption: words between single spaces.
            positives: captions with a translation of the word into one drawn language, drawn with repeats.
            negatives: captions with the translation of any word of the dictionary in its place.

        Returns:
            The positives, then the negatives; the caption itself in place of all where no word is switched.
        """
        if not self._draw(self.sentence_rate):
            return [caption] * (positives + negatives)
        words = caption.split(" ")
        places = list(range(len(words)))
        self.generator.shuffle(places)
        place = next((place for place in places if words[place] in self.dictionary), None)
        if place is None:
            return [caption] * (positives + negatives)
        translations = self.dictionary[words[place]]
        drawn = self.choices.choice(list(translations[self._one_of(list(translations))]), positives)
        instead = [*map(str, drawn), *(self._translated(self._one_of(self._known)) for _ in range(negatives))]
        return [" ".join([*words[:place], other, *words[place + 1 :]]) for other in instead]

    def _translated(self, word: str) -> str:
        translations = self.dictionary[word]
        return self._one_of(translations[self._one_of(list(translations))])

    def _draw(self, rate: float) -> bool:
        return self.generator.random() < rate

    def _one_of(self, items: Sequence[Item]) -> Item:
        return items[self.generator.randint(0, len(items) - 1)]
