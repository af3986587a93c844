"""G14: where texts mention a hundred thousand names, with blanks between words and without; and learning the names.

The peer asks for every name whether it is in the text, then where; the careful peer is one regular expression of all
names, the longest first, compiled before the clock runs. Both answer with the leftmost longest mentions by their
characters. The first can also tell all that overlap, to which "ours overlaps" is held.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from benchmarks.harness import OURS, PEER, Case, Unequal
from mm_kptm.knowledge.linking.mention_index import MentionIndex

NAMES, LETTERS, CHARACTERS, SKEW = 100_000, 20_000, 3_000, 1.0
VERSIONS = {"numpy": np.__version__}
Spans = list[tuple[int, int]]


def _drawn(count: int, draw: np.random.Generator, skewed: bool) -> np.ndarray:
    """Numbers of words or characters; in texts a few of them make up most."""
    weight = np.arange(1, count + 1) ** -(SKEW if skewed else 0.0)
    return draw.choice(count, LETTERS, p=weight / weight.sum())


def with_blanks(seed: int) -> tuple[list[str], str]:
    """Names of 1 to 3 words out of 50,000, and a text of the same words."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = sorted({"".join(letters[draw.integers(0, 26, draw.integers(2, 11))]) for _ in range(50_000)})
    names: dict[str, None] = {}
    while len(names) < NAMES:
        names[" ".join(vocabulary[number] for number in draw.integers(0, len(vocabulary), draw.integers(1, 4)))] = None
    text = " ".join(vocabulary[number] for number in _drawn(len(vocabulary), draw, skewed=True))
    return list(names), text[:LETTERS]


def without_blanks(seed: int) -> tuple[list[str], str]:
    """Names of 2 to 5 of 3,000 characters, and a text of the same characters."""
    draw = np.random.default_rng(seed)
    common = _drawn(CHARACTERS, draw, skewed=True)
    names: dict[str, None] = {}
    while len(names) < NAMES:
        names["".join(chr(0x4E00 + number) for number in draw.choice(common, draw.integers(2, 6)))] = None
    return list(names), "".join(chr(0x4E00 + number) for number in _drawn(CHARACTERS, draw, skewed=True))


def by_loop(names: list[str], text: str, blanks: bool) -> Spans:
    """All mentions, a name after the other."""
    found = []
    for name in names:
        if name in text:
            start = text.find(name)
            while start >= 0:
                end = start + len(name)
                outside = (start == 0 or text[start - 1] == " ") and (end == len(text) or text[end] == " ")
                if outside or not blanks:
                    found.append((start, end))
                start = text.find(name, start + 1)
    return sorted(found, key=lambda span: (span[0], -span[1]))


def max_length(found: Spans) -> Spans:
    """The leftmost longest of all mentions."""
    kept: Spans = []
    for start, end in found:
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def expression(names: list[str], blanks: bool) -> re.Pattern[str]:
    """Any of the names, the longest first."""
    any_name = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?<!\S)(?:{any_name})(?!\S)" if blanks else any_name)


def _case(name: str, title: str, drawn: Callable[[int], tuple[list[str], str]], blanks: bool, seed: int) -> Case:
    names, text = drawn(seed)
    index, pattern = MentionIndex(names), expression(names, blanks)

    def ours(overlaps: bool) -> Spans:
        found = index.find([text], overlaps=overlaps)
        return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))

    def check() -> dict[str, float]:
        """The same mentions, and some."""
        every = by_loop(names, text, blanks)
        told = {
            "the loop's": max_length(every) == ours(False),
            "all of the loop's": every == ours(True),
            "the expression's": [match.span() for match in pattern.finditer(text)] == ours(False),
        }
        for what, same in told.items():
            if not same or not every:
                raise Unequal(f"{name}: our mentions are not {what}")
        return {"mentions": 0.0}

    def read(spans: Spans) -> float:
        return float(len(text)) if spans else 0.0

    return Case(
        name=name,
        title=title,
        unit="characters",
        work=float(len(text)),
        variants={
            PEER: lambda: read(max_length(by_loop(names, text, blanks))),
            "careful peer": lambda: read([match.span() for match in pattern.finditer(text)]),
            OURS: lambda: read(ours(False)),
            "ours overlaps": lambda: read(ours(True)),
        },
        check=check,
        sizes={"names": NAMES, "characters": len(text), "different": CHARACTERS, "skew": SKEW},
    )


def _learning(seed: int) -> Case:
    names, _ = with_blanks(seed)

    def check() -> dict[str, float]:
        """Every name finds itself."""
        numbers = MentionIndex(names).find(names).names
        if numbers.tolist() != list(range(len(names))):
            raise Unequal("g14-learning: a name does not find itself")
        return {"names": 0.0}

    def compiled() -> float:
        re.purge()  # the module remembers what it compiled
        return float(expression(names, words_are_space_separated=True).pattern.count("|") + 1)

    return Case(
        name="g14-learning",
        title="learning a hundred thousand names",
        unit="names",
        work=float(NAMES),
        variants={PEER: compiled, OURS: lambda: float(len(MentionIndex(names).numbers))},
        check=check,
        sizes={"names": NAMES},
    )


def build(seed: int = 0) -> tuple[Case, ...]:
    """Finding in both kinds of text, and learning."""
    return (
        _case("g14", "mentions of 100,000 names between blanks", with_blanks, True, seed),
        _case("g14-unsegmented", "mentions of 100,000 names without blanks", without_blanks, False, seed),
        _learning(seed),
    )
