"""Rules for pairs out of packages, beside those of :mod:`mm_kptm.crosslingual.corpora.cleaning`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from mm_kptm.crosslingual.corpora.cleaning import Pair

_PLACEHOLDER = re.compile(r"%\(\w+\)[sdrf]|%[sdrf%]|\{\w*\}|&\w+;|</?\w+[^>]*>")


@dataclass(frozen=True)
class SamePlaceholders:
    """Keeps pairs with the same placeholders and tags on both sides, in any order."""

    name: str = "placeholders"

    def keeps(self, pair: Pair) -> bool:
        one, other = (Counter(_PLACEHOLDER.findall(text)) for text in pair)
        return one == other


@dataclass(frozen=True)
class Untranslated:
    """Drops pairs whose sides are equal."""

    name: str = "untranslated"

    def keeps(self, pair: Pair) -> bool:
        return pair[0] != pair[1]


@dataclass(frozen=True)
class Words:
    """Keeps pairs whose source has at least so many words besides placeholders."""

    least: int = 3
    name: str = "short"

    def keeps(self, pair: Pair) -> bool:
        return len(re.findall(r"[^\W\d_]+", _PLACEHOLDER.sub(" ", pair[0]))) >= self.least
