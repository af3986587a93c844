"""Candidate generation: spans of words in a name dictionary with priors (Peters et al. 2019, section 4.1).

A dictionary is made by counting links: how often a string of text led to which page (Ganea and Hofmann 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines


@dataclass(frozen=True)
class CandidateSpan:
    """Candidate span: consecutive words or word pieces with their candidate entities."""

    first: int
    last: int  #: the last one is part of it
    entities: tuple[str, ...]
    priors: tuple[float, ...]  #: sum to 1


Finder = Callable[[Sequence[str]], list[CandidateSpan]]  #: from the words of a text to its spans


class EntityPrior(NamedTuple):
    """Page that a string was linked to, with its prior."""

    number: str  #: of the page
    entity: str  #: its title
    prior: float


class Name(NamedTuple):
    """String with its count and the pages it was linked to."""

    times: int
    senses: tuple[EntityPrior, ...]


Merging = Callable[[Mapping[str, Name], int], dict[str, list[EntityPrior]]]

#: The words that the released code takes for punctuation. It reads them off patterns in which ``!``, ``?``, brackets,
#: ``*``, ``'`` and ``$`` are written with a backslash, and so does not find those; nor does it know ``.`` and ``-``.
RELEASED_SIGNS = frozenset(
    ',:;¿؟¡<>_#&。？！，、；：～·।،۔؛٪…"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿'
)


def no_word(word: str) -> bool:
    """Whether a word has neither letters nor digits."""
    return not any(letter.isalnum() for letter in word)


def all_spellings(names: Mapping[str, Name], most: int) -> dict[str, list[EntityPrior]]:
    """Merge the spellings of a lower-cased string, each page once with its highest prior."""
    best: dict[str, dict[str, EntityPrior]] = {}
    for spelling, name in names.items():
        found = best.setdefault(spelling.lower(), {})
        for sense in name.senses:
            if sense.number not in found or sense.prior > found[sense.number].prior:
                found[sense.number] = sense
    return {small: _likeliest(found.values(), most) for small, found in best.items()}


def last_spelling(names: Mapping[str, Name], most: int) -> dict[str, list[EntityPrior]]:
    """Merging of the released code: pages of the last spelling and of the lower-cased one.

    Where both led to one page and the second is likelier, the page is kept with its first prior, and the last of such
    pages stands there once more with its second one.
    """
    merged: dict[str, list[EntityPrior]] = {}
    for spelling, name in names.items():
        small = spelling.lower()
        found: dict[str, EntityPrior] = {}
        again: list[EntityPrior] = []
        for sense in (*name.senses, *(names[small].senses if small in names else ())):
            if sense.number not in found:
                found[sense.number] = sense
            elif sense.prior > found[sense.number].prior:
                again = [sense]
        merged[small] = _likeliest([*found.values(), *again], most)
    return merged


class NameDictionary:
    """Candidate generator from a name dictionary.

    A string counts as it is written or with capital first letters, whichever led anywhere more often; where neither
    did, in lower case.

    Args:
        names: by their spelling.
        stop_words: no mention begins or ends with one of these, written just so.
        ignored: no mention has a word for which this holds; :data:`RELEASED_SIGNS` has the released code's.
        longest: words of a mention at most.
        most: pages of a lower-cased string at most.
        merged: how spellings are brought together; :func:`last_spelling` as the released code does.
    """

    def __init__(
        self,
        names: Mapping[str, Name],
        stop_words: Collection[str],
        *,
        ignored: Callable[[str], bool] = no_word,
        max_length: int = 5,
        most: int = 30,
        merged: Merging = all_spellings,
    ) -> None:
        self._names = names
        self._small = merged(names, most)
        self._stop_words = frozenset(stop_words)
        self._ignored = ignored
        self._longest = max_length

    def __call__(self, words: Sequence[str]) -> list[CandidateSpan]:
        """Candidate spans of a text, in order of their first word."""
        spans = []
        for first, last in spans_up_to(len(words), self._longest):
            if self._may_be(words[first : last + 1]) and (senses := self.senses(" ".join(words[first : last + 1]))):
                total = sum(sense.prior for sense in senses)
                entities = tuple(sense.entity for sense in senses)
                spans.append(CandidateSpan(first, last, entities, tuple(sense.prior / total for sense in senses)))
        return spans

    def senses(self, string: str) -> Sequence[EntityPrior]:
        """Pages of a string with their priors."""
        written, titled = self._names.get(string), self._names.get(string.title())
        found = written if _times(written) > _times(titled) else titled
        return self._small.get(string.lower(), ()) if found is None or not found.times else found.senses

    def _may_be(self, words: Sequence[str]) -> bool:
        ends = {words[0], words[-1]}
        return ends.isdisjoint(self._stop_words) and not any(map(self._ignored, words))


def read_names(path: str | Path, entities: Collection[str] | None = None, *, most: int = 30) -> dict[str, Name]:
    """Read a dictionary file: ``string TAB count TAB number,prior,title TAB ...`` per line.

    Args:
        path: of the file.
        entities: titles that are kept; strings that lead to no other are left out.
        most: pages of a string at most.

    Raises:
        UserError: no such file, or a line is not of that form.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"a dictionary of names was looked for in {path}, but there is no such file")
    kept = None if entities is None else frozenset(entities)
    names: dict[str, Name] = {}
    for place, line in numbered_lines(path):
        string, name = _parsed(line.rstrip(), f"{path}, line {place}")
        senses = [sense for sense in name.senses if kept is None or sense.entity in kept][:most]
        if senses and (string not in names or name.times > names[string].times):
            names[string] = Name(name.times, tuple(senses))
    return names


def spans_up_to(words: int, max_length: int) -> Iterator[tuple[int, int]]:
    """First and last word of every span of at most ``max_length`` words.

    >>> list(spans_up_to(3, 2))
    [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    """
    for first in range(words):
        for last in range(first, min(first + max_length, words)):
            yield first, last


def _parsed(line: str, where: str) -> tuple[str, Name]:
    string, *parts = line.split("\t")
    try:
        times, senses = int(parts[0]), [_sense(part) for part in parts[1:]]
    except (ValueError, IndexError):
        raise UserError(
            f"{where} should be a string, its count, and 'number,prior,title' for every page, set apart by tabs; it is "
            f"{line[:60]!r}"
        ) from None
    return string, Name(times, tuple(senses))


def _sense(part: str) -> EntityPrior:
    number, prior, title = (piece.strip() for piece in part.split(",", 2))
    return EntityPrior(number, title, float(prior))


def _likeliest(senses: Iterable[EntityPrior], most: int) -> list[EntityPrior]:
    return sorted(senses, key=lambda sense: -sense.prior)[:most]


def _times(name: Name | None) -> int:
    return 0 if name is None else name.times
