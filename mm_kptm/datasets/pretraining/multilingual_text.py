"""Multilingual pretraining data: monolingual sentences and translation pairs.

Every entry of ``train`` names languages and the beginning of their files: ``en: news`` reads ``news.en``; ``de-en:
europarl`` reads ``europarl.de`` and ``europarl.en``, whose lines are translations of each other (Moses style); and
``de-en-fr: ted`` reads three such files, which make three pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, every_pair, monolingual, translations
from mm_kptm.crosslingual.corpora.language_sampling import drawn
from mm_kptm.crosslingual.corpora.moses import moses_files, read_aligned
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.crosslingual.objectives.translation_language_modeling import TRANSLATIONS, TranslationLanguageModeling
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.next_tokens import TARGETS, NextTokens
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, ObjectiveContext, Offers, build_objectives
from mm_kptm.objectives.tokens import MaskedTokens
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import shortened
from mm_kptm.tasks.pretraining import SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source

Pair = tuple[EncodedSentence, EncodedSentence]


@dataclass(frozen=True, kw_only=True)
class MultilingualText(TextSettings):
    """A sentence a line, by language; the lines of languages that are named together are translations."""

    name: Literal["multilingual-text"]
    train: dict[str, Path]  #: beginnings of files by languages, such as {en: news, de-en-fr: ted}
    dev: dict[str, Path] | None = None  #: the same, to choose a model by
    test: dict[str, Path] | None = None  #: the same, to measure it on
    language_sampling: float | None = None
    """Exponent of the shares of languages (and of pairs): 1 as in the files, 0 all alike, 0.7 as XLM; null: every
    sentence once an epoch."""
    mask_rate: float = 0.15  #: the share of tokens that is masked
    seed: int = 0  #: which sentences are drawn where languages have shares

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_rate < 1:
            raise UserError(
                f"data.mask_rate is {self.mask_rate} but must be a share of the tokens, above 0 and below 1"
            )
        if self.language_sampling is not None and not 0 <= self.language_sampling <= 1:
            raise UserError(f"data.language_sampling is {self.language_sampling} but must lie between 0 and 1")
        if not self.train:
            raise UserError("data.train is empty; name a language, or languages that are aligned, and their files")
        if strange := [spoken for files in self.splits.values() for key in files for spoken in self._unknown(key)]:
            raise UserError(
                f"data.languages has no {strange[0]!r}, which the files are in; it has {', '.join(self.languages)}"
            )

    @property
    def splits(self) -> dict[str, dict[str, Path]]:
        """The files of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: files for split, files in given.items() if files}

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages in the order of their ids: as set, or those of training in alphabetical order."""
        return self.languages or tuple(sorted({language for key in self.train for language in languages_of(key)}))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files = {
            f"{split}.{key}.{language}": path
            for split, named in self.splits.items()
            for key, prefix in named.items()
            for language, path in moses_files(prefix, languages_of(key)).items()
        }
        return fingerprints({**files, **self.tokenizer_files})

    def _unknown(self, key: str) -> list[str]:
        return [language for language in languages_of(key) if language not in self.spoken]


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
class TargetSource:
    """Texts to read, each with one to write."""

    sources: InputSource
    targets: InputSource

    def __len__(self) -> int:
        return len(self.sources)

    def length(self, index: int) -> int:
        """Tokens of both."""
        return self.sources.length(index) + self.targets.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts with their targets."""
        target = self.targets.batch(indices, generator).text
        return self.sources.batch(indices, generator).with_streams(target=target)


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


def read_rows(data: MultilingualText, tokenizer: Tokenizer, split: str) -> list[list[EncodedSentence]]:
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
class _Corpora:
    """The sentences and translations of some settings; ``rows`` are those of :func:`read_rows`, by split."""

    data: MultilingualText
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

    def pairs(self, split: str) -> list[Pair]:
        """Translations in both orders.

        Raises:
            UserError: no languages of the split are aligned.
        """
        found = every_pair([row for row in self.rows(split) if len(row) > 1])
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


def pretraining(data: MultilingualText, request: DataRequest) -> PreparedData:
    """Every objective reads the form it needs: sentences, translations in a row, or translations to write."""
    tokenizer = data.tokenizer()
    corpora = _Corpora(data, tokenizer, cache(partial(read_rows, data, tokenizer)))
    aligned = any(len(languages_of(key)) > 1 for key in data.train)
    offers = Offers(
        data.name,
        {TEXTS: None, LANGUAGE_IDS: None, **({TRANSLATIONS: None, TARGETS: None} if aligned else {})},
        {TRANSLATIONS: "name languages that are aligned, such as de-en, among data.train"},
        {MaskedTokens.name: _masked_tokens},
    )
    context = ObjectiveContext(tokenizer.specials, len(tokenizer), offers, data.mask_rate, request.recipe)
    objectives = build_objectives(request.objectives, context)
    writes = "target" in request.recipe.reads

    def inputs(split: str, name: str) -> Source[Inputs]:
        if name == TranslationLanguageModeling.name:
            return corpora.side_by_side(split)
        return corpora.to_translate(split) if writes and name == NextTokens.name else corpora.alone(split)

    def source(split: str) -> SourcesOfObjectives:
        return SourcesOfObjectives({name: inputs(split, name) for name in objectives}, objectives)

    languages = {"num_languages": len(data.spoken)} if "languages" in request.recipe.reads else {}
    return PreparedData(
        sources={split: partial(source, split) for split in data.splits},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), **languages},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def _masked_tokens(context: ObjectiveContext) -> MaskedTokens:
    """XLM's token masking, with or without translations."""
    return MaskedTokens(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


def _cut(pair: Pair, room: int) -> Pair:
    first, second = pair
    one, other = shortened(first.ids, second.ids, room=room)
    return first._replace(ids=one), second._replace(ids=other)


PRETRAINING_SUPPLY = TaskDataset(None, MultilingualText, pretraining)
