"""Sources of multilingual pretraining: sentences alone, beside their translations, or in documents of two languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Protocol

import torch

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import (
    EncodedSentence,
    alternating_documents,
    every_pair,
    monolingual,
    translations,
)
from mm_kptm.crosslingual.corpora.language_sampling import drawn
from mm_kptm.crosslingual.corpora.moses import read_aligned
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.pairs import TargetSource
from mm_kptm.preprocessing.text import shortened
from mm_kptm.train.protocol import Source

Pair = tuple[EncodedSentence, EncodedSentence]


class MultilingualFiles(Protocol):
    """What sources need of the settings."""

    @property
    def splits(self) -> Mapping[str, Mapping[str, Path]]:
        """The files of every split, by languages."""

    @property
    def spoken(self) -> Sequence[str]:
        """The languages in the order of their ids."""

    @property
    def max_length(self) -> int:
        """Pieces of an example."""

    @property
    def language_sampling(self) -> float | None:
        """Exponent of the shares of languages."""

    @property
    def alignment(self) -> str:
        """``true``, or ``shuffled``: every line beside others than its own translations."""

    @property
    def seed(self) -> int:
        """Seed of the sampling."""


def languages_of(key: str) -> tuple[str, ...]:
    """The languages that an entry names.

    Raises:
        UserError: one stands twice, or none.

    >>> languages_of("de-en-fr")
    ('de', 'en', 'fr')
    """
    languages = tuple(key.split("-"))
    if not all(languages) or len(set(languages)) < len(languages):
        raise UserError(
            f"data.train names the languages {key!r}; name each once, with a hyphen between two, as in de-en"
        )
    return languages


@dataclass(frozen=True, eq=False)
class Resampled:
    """Examples of a source by their numbers, some of them several times."""

    source: Source[Inputs]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def length(self, index: int) -> int:
        """As that of the example."""
        return self.source.length(self.numbers[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The examples of the given indices."""
        return self.source.batch([self.numbers[index] for index in indices], generator)


def read_rows(data: MultilingualFiles, tokenizer: Tokenizer, split: str) -> list[list[EncodedSentence]]:
    """Sentences that mean the same, a row a line of the files.

    Raises:
        UserError: a file cannot be read, or aligned ones differ in their number of lines.
    """
    found = []
    for key, prefix in data.splits[split].items():
        languages = languages_of(key)
        numbers = [data.spoken.index(language) for language in languages]
        for line in read_aligned(prefix, languages):
            said = zip(line, languages, numbers, strict=True)
            found.append([EncodedSentence(tokenizer.encode(text, lang).ids, number) for text, lang, number in said])
    return found


@dataclass(frozen=True, eq=False)
class Corpora:
    """The sentences and translations of some settings; ``rows`` are those of :func:`read_rows`, by split."""

    data: MultilingualFiles
    tokenizer: Tokenizer
    rows: Callable[[str], list[list[EncodedSentence]]]

    def alone(self, split: str) -> Source[Inputs]:
        """Every sentence by itself, those of aligned files too."""
        room = self.data.max_length - 2
        said = [sentence for row in self.rows(split) for sentence in row]
        cut = [sentence._replace(ids=sentence.ids[:room]) for sentence in said]
        texts = InputSource(monolingual(cut, self.tokenizer.specials))
        return self._sampled(split, texts, [self.data.spoken[one.language] for one in said])

    def side_by_side(self, split: str) -> Source[Inputs]:
        """Every sentence and its translation in a row, in both orders."""
        pairs = [(_cut(pair, self.data.max_length - 4)) for pair in self.pairs(split)]
        texts = InputSource(translations(pairs, self.tokenizer.specials))
        return self._sampled(split, texts, self._directions(pairs))

    def to_translate(self, split: str) -> Source[Inputs]:
        """Every sentence with its translation as what is written."""
        room = self.data.max_length - 2
        pairs = [
            (first._replace(ids=first.ids[:room]), second._replace(ids=second.ids[:room]))
            for first, second in self.pairs(split)
        ]
        sides = [InputSource(monolingual(side, self.tokenizer.specials)) for side in zip(*pairs, strict=True)]
        return self._sampled(split, TargetSource(*sides), self._directions(pairs))

    def documents(self, split: str) -> Source[Inputs]:
        """Runs of aligned lines, every second one translated (Huang et al. 2019, section 3.1), up to the length.

        The lines of a file follow each other as the sentences of a document do.

        Raises:
            UserError: no languages of the split are aligned.
        """
        specials, runs, spoken = self.tokenizer.specials, [], []
        self.pairs(split)  # refuses data without any
        for rows in _by_languages(self.rows(split)):
            meanings = rows if self.data.alignment == "true" else misaligned(rows)
            for first, second in permutations(range(len(meanings[0])), 2):
                pairs = [(row[first], row[second]) for row in meanings]
                found = alternating_documents(pairs, specials, max_length=self.data.max_length)
                runs.append(found)
                spoken += self._directions([pairs[0]]) * len(found)
        return self._sampled(split, InputSource(Packed.joined(*runs)), spoken)

    def pairs(self, split: str) -> list[Pair]:
        """Translations in both orders.

        Raises:
            UserError: no languages of the split are aligned.
        """
        rows = [row for meanings in _by_languages(self.rows(split)) for row in meanings]
        found = every_pair(rows if self.data.alignment == "true" else misaligned(rows))
        if not found:
            raise UserError(
                f"data.{split} has {', '.join(self.data.splits[split])}, none of them aligned; name translations such "
                "as de-en, or leave the objectives on translations out"
            )
        return found

    def _directions(self, pairs: Sequence[Pair]) -> list[str]:
        """The two languages of every pair, in the same order whichever stands first."""
        spoken = self.data.spoken
        return ["-".join(sorted(spoken[one.language] for one in pair)) for pair in pairs]

    def _sampled(self, split: str, source: Source[Inputs], languages: Sequence[str]) -> Source[Inputs]:
        """Training examples drawn so that their languages have the shares that are set."""
        factor = self.data.language_sampling
        if factor is None or split != "train":
            return source
        generator = torch.Generator().manual_seed(self.data.seed)
        return Resampled(source, drawn(languages, factor, len(languages), generator).tolist())


def _cut(pair: Pair, room: int) -> Pair:
    first, second = pair
    one, other = shortened(first.ids, second.ids, room=room)
    return first._replace(ids=one), second._replace(ids=other)


def _by_languages(rows: Sequence[Sequence[EncodedSentence]]) -> list[list[Sequence[EncodedSentence]]]:
    """Aligned rows grouped by their languages, in the order of the files."""
    groups: dict[tuple[int, ...], list[Sequence[EncodedSentence]]] = {}
    for row in rows:
        if len(row) > 1:
            groups.setdefault(tuple(one.language for one in row), []).append(row)
    return list(groups.values())


def misaligned(rows: Sequence[Sequence[EncodedSentence]]) -> list[list[EncodedSentence]]:
    """The same sentences with others than their translations: every language of a file is moved by other rows.

    Two lines are the fewest that can be misaligned; a single one stays as it is.

    >>> a, b, c, d = (EncodedSentence((number,), number % 2) for number in range(4))
    >>> [[one.ids for one in row] for row in misaligned([[a, b], [c, d]])]
    [[(0,), (3,)], [(2,), (1,)]]
    """
    moved = []
    for group in _by_languages(rows):
        count, width = len(group), len(group[0])
        shifts = [place * max(count // width, 1) for place in range(width)]
        moved += [
            [group[(number + shift) % count][place] for place, shift in enumerate(shifts)] for number in range(count)
        ]
    return moved


#: Spellings of language codes among the pieces of a vocabulary: those of mBART, M2M-100 and plain ones.
CODE_FORMS = (r"{}_[A-Z]{{2}}", r"__{}__", r"\[{}\]", r"<{}>", r"<2{}>")


def language_codes(tokenizer: Tokenizer, languages: Sequence[str]) -> list[int] | None:
    """The token of every language, such as ``de_DE`` or ``[de]``; None where a language has none."""
    found = []
    for language in languages:
        forms = [re.compile(form.format(re.escape(language))) for form in CODE_FORMS]
        match = next(
            (number for form in forms for number, piece in enumerate(tokenizer.vocabulary) if form.fullmatch(piece)),
            None,
        )
        if match is None:
            return None
        found.append(match)
    return found
