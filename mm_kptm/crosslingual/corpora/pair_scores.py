"""Measures of a sentence and of a sentence pair, as OpusFilter defines them (Aulamo et al. 2020)."""

from __future__ import annotations

import math
import re
from difflib import SequenceMatcher
from functools import cache
from html.parser import HTMLParser

import regex

from mm_kptm.errors import UserError

_LETTER = regex.compile(r"\p{Alphabetic}")
_SENTENCE_ENDS = frozenset(".?!…")
_REPEATED = re.compile(r"(\S.{2,99}?)(?: *\1){2,}")  # 3 to 100 characters, two more times at least


def longest_word(text: str) -> int:
    """Characters of the longest word, 0 without words."""
    return max((len(word) for word in text.split()), default=0)


def mean_word_length(text: str) -> float:
    """Mean characters of a word, 0 without words."""
    words = text.split()
    return sum(len(word) for word in words) / len(words) if words else 0.0


def letter_share(text: str) -> float:
    """Share of letters among all characters, white space included; 1 for an empty text."""
    return len(_LETTER.findall(text)) / len(text) if text else 1.0


def script_share(text: str, script: str) -> float:
    """Share of a Unicode script among the letters; 1 without letters.

    Raises:
        UserError: Unicode has no such script.

    >>> script_share("Москва is", "Latin")
    0.25
    """
    letters = _LETTER.findall(text)
    return sum(_in_script(script).match(letter) is not None for letter in letters) / len(letters) if letters else 1.0


@cache
def _in_script(script: str) -> regex.Pattern[str]:
    try:
        return regex.compile(rf"\p{{Script={script}}}")
    except regex.error:
        raise UserError(
            f"Unicode has no script {script!r}; names are those of ISO 15924, such as Latin or Han"
        ) from None


class _TagFinder(HTMLParser):
    found = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found = True


def has_tag(text: str) -> bool:
    """Whether an HTML element begins in the text.

    >>> has_tag("<b>bold</b>"), has_tag("2 < 3")
    (True, False)
    """
    finder = _TagFinder()
    finder.feed(text)
    finder.close()
    return finder.found


def terminal_punctuation(source: str, target: str) -> float:
    """Minus the logarithm of 1 + the difference in sentence ends + those beyond the first on each side; 0 at best."""
    first, second = (sum(sign in _SENTENCE_ENDS for sign in text) for text in (source, target))
    return -math.log(1 + abs(first - second) + max(first - 1, 0) + max(second - 1, 0))


def numeral_similarity(source: str, target: str) -> float:
    """Similarity of the sequences of digits other than zero, 1 where neither side has any."""
    first, second = ([int(sign) for sign in text if sign.isdecimal() and int(sign)] for text in (source, target))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def common_substring(source: str, target: str) -> float:
    """Length of the longest common substring over that of the shorter side; 0 if a side is empty."""
    shorter = min(len(source), len(target))
    if not shorter:
        return 0.0
    return SequenceMatcher(None, source, target, autojunk=False).find_longest_match().size / shorter


def edit_similarity(source: str, target: str) -> float:
    """1 minus the Levenshtein distance over the length of the longer side; 1 for two empty sides.

    >>> edit_similarity("cat", "cart")
    0.75
    """
    longer = max(len(source), len(target))
    if not longer:
        return 1.0
    above = list(range(len(target) + 1))
    for row, sign in enumerate(source, 1):
        line = [row]
        for column, other in enumerate(target, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (sign != other)))
        above = line
    return 1 - above[-1] / longer


def repeats(text: str) -> int:
    """Further occurrences of a string of 3 to 100 characters that stands three times in a row; 0 without one.

    >>> repeats("ha ha ha ha ha"), repeats("ha ha")
    (3, 0)
    """
    found = _REPEATED.search(text)
    return found[0].count(found[1]) - 1 if found else 0
