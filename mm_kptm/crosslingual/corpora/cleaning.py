"""Clean-up of bitext: rules that keep or drop a pair, and how many pairs each of them dropped.

Scores and default thresholds are those of OpusFilter 3.3 (Aulamo et al. 2020). Words are pieces between white space:
for Chinese, Japanese and Thai choose ``char`` units, or nearly every pair is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mm_kptm.crosslingual.corpora.pair_scores import (
    common_substring,
    edit_similarity,
    has_tag,
    letter_share,
    longest_word,
    mean_word_length,
    numeral_similarity,
    repeats,
    script_share,
    terminal_punctuation,
)
from mm_kptm.errors import UserError

Unit = Literal["word", "char"]
Pair = tuple[str, str]


class Rule(Protocol):
    """Decides about a pair."""

    @property
    def name(self) -> str:
        """What the counts are listed under."""

    def keeps(self, pair: Pair) -> bool:
        """Whether the pair may stay."""


@dataclass(frozen=True)
class Cleaned:
    """The pairs that every rule keeps, and how many each rule dropped; a pair counts for the first that drops it."""

    pairs: list[Pair]
    dropped: dict[str, int]


def clean(pairs: Iterable[Pair], rules: Sequence[Rule]) -> Cleaned:
    """Apply rules in order to every pair.

    Raises:
        UserError: two rules have one name, so that their counts would be mixed.

    >>> cleaned = clean([("a cat", "eine Katze"), ("", "leer"), ("a cat", "eine Katze")], [WordCount(), Distinct()])
    >>> cleaned.pairs, cleaned.dropped
    ([('a cat', 'eine Katze')], {'length': 1, 'duplicate': 1})
    """
    dropped = {rule.name: 0 for rule in rules}
    if len(dropped) < len(rules):
        names = [rule.name for rule in rules]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two rules are called {twice!r}, so that their counts would be mixed; rename one")
    kept = []
    for pair in pairs:
        failed = next((rule for rule in rules if not rule.keeps(pair)), None)
        if failed is None:
            kept.append(pair)
        else:
            dropped[failed.name] += 1
    return Cleaned(kept, dropped)


@dataclass(frozen=True)
class WordCount:
    """Keeps pairs whose sides are neither shorter than ``least`` nor longer than ``most`` units; one value per side."""

    least: tuple[int, int] = (1, 1)
    most: tuple[int, int] = (100, 100)
    units: tuple[Unit, Unit] = ("word", "word")
    name: str = "length"

    def score(self, pair: Pair) -> tuple[int, int]:
        source, target = (length(text, unit) for text, unit in zip(pair, self.units, strict=True))
        return source, target

    def keeps(self, pair: Pair) -> bool:
        bounds = zip(self.least, self.score(pair), self.most, strict=True)
        return all(least <= count <= most for least, count, most in bounds)


@dataclass(frozen=True)
class LengthRatio:
    """Keeps pairs whose longer side is less than ``limit`` times the shorter one."""

    limit: float = 3.0
    unit: Unit = "word"
    name: str = "length-ratio"

    def score(self, pair: Pair) -> float:
        shorter, longer = sorted(length(text, self.unit) for text in pair)
        if not shorter:
            return float("inf") if longer else 0.0
        return longer / shorter

    def keeps(self, pair: Pair) -> bool:
        return self.score(pair) < self.limit


@dataclass(frozen=True)
class Sidewise:
    """Keeps pairs whose sides both have a measure from ``least`` to ``most``."""

    name: str
    measure: Callable[[str], float]
    least: float = float("-inf")
    most: float = float("inf")

    def score(self, pair: Pair) -> tuple[float, float]:
        return self.measure(pair[0]), self.measure(pair[1])

    def keeps(self, pair: Pair) -> bool:
        return all(self.least <= score <= self.most for score in self.score(pair))


@dataclass(frozen=True)
class Joint:
    """Keeps pairs whose sides have a common measure of at least ``least`` and less than ``below``."""

    name: str
    measure: Callable[[str, str], float]
    least: float = float("-inf")
    below: float = float("inf")

    def score(self, pair: Pair) -> float:
        return self.measure(*pair)

    def keeps(self, pair: Pair) -> bool:
        return self.least <= self.score(pair) < self.below


@dataclass(frozen=True)
class Scripts:
    """Keeps pairs whose letters are in the script of their side, at least in the given share.

    Args:
        scripts: Unicode script of each side, such as ``Latin`` or ``Cyrillic``.
        least: share of each side.
    """

    scripts: tuple[str, str]
    least: tuple[float, float] = (1.0, 1.0)
    name: str = "script"

    def score(self, pair: Pair) -> tuple[float, float]:
        return script_share(pair[0], self.scripts[0]), script_share(pair[1], self.scripts[1])

    def keeps(self, pair: Pair) -> bool:
        return all(share >= least for share, least in zip(self.score(pair), self.least, strict=True))


@dataclass(frozen=True)
class Languages:
    """Keeps pairs whose sides are identified as their languages; short sides pass, as identifiers fail there.

    Args:
        languages: code of each side.
        identify: the code of a text's language.
        min_words: sides of fewer words are not identified.
    """

    languages: tuple[str, str]
    identify: Callable[[str], str]
    min_words: int = 4
    name: str = "language"

    def keeps(self, pair: Pair) -> bool:
        return all(
            len(text.split()) < self.min_words or self.identify(text) == language
            for text, language in zip(pair, self.languages, strict=True)
        )


@dataclass
class Distinct:
    """Keeps the first of equal pairs; a new rule per corpus, since it remembers what it has seen."""

    name: str = "duplicate"
    seen: set[int] = field(default_factory=set, repr=False)

    def keeps(self, pair: Pair) -> bool:
        key = hash(pair)  # 64 bits: a false duplicate among 100 million pairs has probability 0.0003
        if key in self.seen:
            return False
        self.seen.add(key)
        return True


def length(text: str, unit: Unit) -> int:
    """Words between white space, or characters."""
    return len(text.split()) if unit == "word" else len(text)


def opus_rules() -> list[Rule]:
    """OpusFilter's rules at their defaults, save for the script, which needs the languages."""
    return [
        WordCount(),
        LengthRatio(),
        long_word(),
        word_length(),
        letters(),
        no_tags(),
        punctuation(),
        numerals(),
        substring(),
        similarity(),
        repetition(),
    ]


def long_word(below: int = 40) -> Sidewise:
    """Drops pairs with a word of ``below`` characters or more."""
    return Sidewise("long-word", longest_word, most=below - 1)


def word_length(least: float = 2, most: float = 20) -> Sidewise:
    """Drops pairs whose mean word length is extreme."""
    return Sidewise("word-length", mean_word_length, least, most)


def letters(least: float = 0.75) -> Sidewise:
    """Drops pairs where too few characters are letters."""
    return Sidewise("letters", letter_share, least)


def no_tags() -> Sidewise:
    """Drops pairs with an HTML tag."""
    return Sidewise("tags", has_tag, most=0)


def punctuation(least: float = -2.0) -> Joint:
    """Drops pairs whose sentence ends differ in number, or are many."""
    return Joint("punctuation", terminal_punctuation, least)


def numerals(least: float = 0.5) -> Joint:
    """Drops pairs whose digits differ."""
    return Joint("numerals", numeral_similarity, least)


def substring(below: float = 0.9) -> Joint:
    """Drops pairs where one side is nearly contained in the other."""
    return Joint("substring", common_substring, below=below)


def similarity(below: float = 0.9) -> Joint:
    """Drops pairs whose sides are nearly equal: copies."""
    return Joint("similarity", edit_similarity, below=below)


def repetition(below: int = 2) -> Joint:
    """Drops pairs with a side that repeats a string."""
    return Joint("repetition", lambda source, target: max(repeats(source), repeats(target)), below=below)
