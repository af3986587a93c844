"""Sentences of words with facts, as a segmenter would cut them: the inputs of the K-BERT cases.

A token is a character, as in the published model. Words are drawn by rank, frequent ones often, as in real text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS

FIRST_CHARACTER, CHARACTERS = 0x4E00, 3000
PIECES = (*BERT_SPECIALS, *(chr(FIRST_CHARACTER + place) for place in range(CHARACTERS)))
VOCABULARY = len(PIECES)
_IDS = {token: place for place, token in enumerate(PIECES)}
_UNKNOWN = _IDS["[UNK]"]


@dataclass(frozen=True)
class Lexicon:
    """Words and the facts that are known about some of them."""

    words: list[str]
    facts: dict[str, list[str]]

    @classmethod
    def draw(cls, count: int, known: float, draw: random.Random) -> Lexicon:
        """Words of 1 to 3 characters; a share ``known`` of them has 1 to 3 facts of 3 to 8 characters."""

        def text(low: int, high: int) -> str:
            return "".join(chr(FIRST_CHARACTER + draw.randrange(CHARACTERS)) for _ in range(draw.randint(low, high)))

        words = list(dict.fromkeys(text(1, 3) for _ in range(count)))
        facts = {
            word: list(dict.fromkeys(text(3, 8) for _ in range(draw.randint(1, 3))))
            for word in words
            if draw.random() < known
        }
        return cls(words, facts)

    def about(self, word: str) -> list[str]:
        """The facts of a word, in order."""
        return self.facts.get(word, [])

    def size(self, word: str, max_facts: int) -> int:
        """Characters of a word and its first facts."""
        return len(word) + sum(map(len, self.about(word)[:max_facts]))

    def sentence(self, length: int, max_facts: int, draw: random.Random) -> list[str]:
        """Words that come to ``length`` tokens with their facts, the opening tag among them.

        Short words without facts fill what is left.
        """
        words, room = ["[CLS]"], length - 1
        plain = [word for word in self.words if len(word) == 1 and word not in self.facts]
        while room:
            rank = int(len(self.words) ** draw.random()) - 1
            word = self.words[rank]
            if self.size(word, max_facts) > room:
                word = draw.choice(plain)
            words.append(word)
            room -= self.size(word, max_facts)
        return words


def spelling(word: str) -> list[int]:
    """The ids of a word as the released code looks them up: one character after another, and a tag as it is."""
    return [_IDS.get(token, _UNKNOWN) for token in ([word] if word.startswith("[") else word)]
