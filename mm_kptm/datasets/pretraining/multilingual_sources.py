"""Sources of multilingual pretraining: sentences alone, beside their translations, or in documents of two languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import (
    alternating_documents,
)
from mm_kptm.crosslingual.corpora.language_sampling import drawn
from mm_kptm.crosslingual.corpora.tokenized_bitext import (
    BitextTokenizer,
    Entry,
    IntArray,
    TokenizedBitext,
    lines_of,
)
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import stored, tokenized
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.bitext_texts import OneSide, SentencesAlone, SideBySide
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.pairs import TargetSource
from mm_kptm.preprocessing.translation_frames import TranslationFrame
from mm_kptm.train.protocol import Source, lengths_of


class MultilingualFiles(Protocol):
    """What sources need of the settings."""

    @property
    def splits(self) -> Mapping[str, Mapping[str, Sequence[Path]]]:
        """The beginnings of the files of every split, by languages."""

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

    @property
    def token_store(self) -> Path | None:
        """Folder of the token store; None: in memory."""

    def tokens_depend_on(self, split: str) -> Mapping[str, object]:
        """What the tokens of a split are made of: digests of its files and of the tokenizer, and settings."""


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

    @property
    def lengths(self) -> IntArray:
        """Those of the examples."""
        return lengths_of(self.source)[np.asarray(self.numbers, dtype=np.int64)]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The examples of the given indices."""
        return self.source.batch([self.numbers[index] for index in indices], generator)


def read_bitext(data: MultilingualFiles, tokenizer: Tokenizer, split: str) -> TokenizedBitext:
    """The sentences of a split, tokenized, out of the token store of the data if they have one.

    Raises:
        UserError: a file cannot be read, or aligned ones differ in their number of lines.
    """
    keys = {key: languages_of(key) for key in data.splits[split]}
    entries = tuple(
        Entry(prefix, languages, tuple(map(data.spoken.index, languages)))
        for key, languages in keys.items()
        for prefix in data.splits[split][key]
    )
    tokenize, lines = BitextTokenizer(tokenizer, entries), partial(lines_of, entries)
    if data.token_store is None:
        return TokenizedBitext.read(tokenized(lines(), tokenize), entries)
    source = {"languages": list(data.spoken), **data.tokens_depend_on(split)}
    return TokenizedBitext.read(stored(data.token_store / split, lines, tokenize, source=source), entries)


@dataclass(frozen=True, eq=False)
class Corpora:
    """The sentences and translations of some settings; ``bitext`` is that of :func:`read_bitext`, by split."""

    data: MultilingualFiles
    tokenizer: Tokenizer
    bitext: Callable[[str], TokenizedBitext]

    def alone(self, split: str) -> Source[Inputs]:
        """Every sentence by itself, those of aligned files too."""
        every = np.arange(len(self.bitext(split)))
        return self._sampled(split, self._texts(split, every), every[:, None])

    def side_by_side(self, split: str) -> Source[Inputs]:
        """Every sentence and its translation in a row, in both orders."""
        pairs = self.pairs(split)
        specials = self.tokenizer.specials
        texts = SideBySide(self.bitext(split), pairs, specials, self.data.max_length - 2 * specials.around(1))
        return self._sampled(split, texts, pairs)

    def both(self, split: str) -> Source[Inputs]:
        """Every sentence with its translation as a text of its own, the target."""
        pairs = self.pairs(split)
        return self._sampled(split, TargetSource(*(self._texts(split, side) for side in pairs.T)), pairs)

    def to_translate(self, split: str, frame: TranslationFrame, codes: Sequence[int] = ()) -> Source[Inputs]:
        """Every sentence with its translation as what is written, framed as a family has them.

        Args:
            split: its name.
            frame: special tokens of the family.
            codes: token of every language, by its number, where the frame has them.
        """
        pairs, bitext = self.pairs(split), self.bitext(split)
        sides = [
            OneSide(bitext, numbers, frame, codes, written, self.data.max_length)
            for numbers, written in zip(pairs.T, (False, True), strict=True)
        ]
        return self._sampled(split, TargetSource(*sides), pairs)

    def documents(self, split: str) -> Source[Inputs]:
        """Runs of aligned lines, every second one translated (Huang et al. 2019, section 3.1), up to the length.

        The lines of a file follow each other as the sentences of a document do.

        Raises:
            UserError: no languages of the split are aligned.
        """
        specials, bitext, runs, spoken = self.tokenizer.specials, self.bitext(split), [], []
        self.pairs(split)  # refuses data without any
        for number, entry in enumerate(bitext.entries):
            if len(entry.languages) < 2:
                continue
            lines = bitext.lines(number, misaligned=self._misaligned)
            for order in permutations(range(len(entry.languages)), 2):
                sides = lines[:, list(order)]
                pairs = [(bitext.sentence(first), bitext.sentence(second)) for first, second in sides.tolist()]
                runs.append(alternating_documents(pairs, specials, max_length=self.data.max_length))
                spoken.append(np.repeat(sides[:1], len(runs[-1]), axis=0))
        return self._sampled(split, InputSource(Packed.joined(*runs)), np.concatenate(spoken))

    def pairs(self, split: str) -> IntArray:
        """Translations in both orders, [P, 2].

        Raises:
            UserError: no languages of the split are aligned.
        """
        found = self.bitext(split).pairs(misaligned=self._misaligned)
        if not len(found):
            raise UserError(
                f"data.{split} has {', '.join(self.data.splits[split])}, none of them aligned; name translations such "
                "as de-en, or leave the objectives on translations out"
            )
        return found

    @property
    def _misaligned(self) -> bool:
        return self.data.alignment != "true"

    def _texts(self, split: str, numbers: IntArray) -> SentencesAlone:
        specials = self.tokenizer.specials
        return SentencesAlone(self.bitext(split), numbers, specials, self.data.max_length - specials.around(1))

    def _sampled(self, split: str, source: Source[Inputs], sentences: IntArray) -> Source[Inputs]:
        """Training examples drawn so that their languages have the shares that are set.

        The languages of an example are those of its sentences, [N, 1] or [N, 2], whichever stands first.
        """
        factor = self.data.language_sampling
        if factor is None or split != "train":
            return source
        spoken = self.bitext(split).languages[sentences].tolist()
        languages = ["-".join(sorted(self.data.spoken[number] for number in some)) for some in spoken]
        generator = torch.Generator().manual_seed(self.data.seed)
        return Resampled(source, drawn(languages, factor, len(languages), generator).tolist())


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
