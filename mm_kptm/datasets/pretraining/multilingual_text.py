"""Multilingual pretraining data: monolingual sentences and translation pairs.

Every entry of ``train`` names languages and the beginning of their files: ``en: news`` reads ``news.en``; ``de-en:
europarl`` reads ``europarl.de`` and ``europarl.en``, whose lines are translations of each other (Moses style); and
``de-en-fr: ted`` reads three such files, which make three pairs. A name that ends in ``.tmx``, ``.tsv``, ``.jsonl``,
``.po`` or ``.mo`` is one file of two languages. Several corpora of the same languages are a list: ``de-en: [europarl,
news]``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.parallel_files import bitext_files
from mm_kptm.crosslingual.objectives.denoising import LANGUAGE_CODES
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.crosslingual.objectives.translation_language_modeling import MIXED_DOCUMENTS, TRANSLATIONS
from mm_kptm.datasets.pretraining.multilingual_sources import Corpora, language_codes, languages_of, read_bitext
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, check_mask_rate, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.next_tokens import TARGETS, NextTokens
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, ObjectiveContext, Offers, find_objective
from mm_kptm.objectives.tokens import MaskedTokens
from mm_kptm.preprocessing.translation_frames import TranslationFrame
from mm_kptm.tasks.pretraining import SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source

Prefixes = Path | tuple[Path, ...]  #: beginnings of the names of files, of one corpus or of several


@dataclass(frozen=True, kw_only=True)
class MultilingualText(TextSettings):
    """A sentence a line, by language; the lines of languages that are named together are translations."""

    name: Literal["multilingual-text"]
    train: dict[str, Prefixes]  #: beginnings of files by languages, such as {en: [news, books], de-en-fr: ted}
    dev: dict[str, Prefixes] | None = None  #: the same, to choose a model by
    test: dict[str, Prefixes] | None = None  #: the same, to measure it on
    language_sampling: float | None = None
    """Exponent of the shares of languages (and of pairs): 1 as in the files, 0 all alike, 0.7 as XLM; null: every
    sentence once an epoch."""
    alignment: Literal["true", "shuffled"] = "true"
    """Lines beside those that are aligned with them, or beside others of the same files: the null of parallel text."""
    token_store: Path | None = None
    """A folder for the tokenized text, built on first use, which all processes map; null: in memory of each."""
    mask_rate: float = 0.15  #: the share of tokens that is masked
    seed: int = 0  #: which sentences are drawn where languages have shares

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_rate(self.mask_rate)
        if self.language_sampling is not None and not 0 <= self.language_sampling <= 1:
            raise UserError(f"data.language_sampling is {self.language_sampling} but must lie between 0 and 1")
        if not self.train:
            raise UserError("data.train is empty; name a language, or languages that are aligned, and their files")
        if strange := [spoken for files in self.splits.values() for key in files for spoken in self._unknown(key)]:
            raise UserError(
                f"data.languages has no {strange[0]!r}, which the files are in; it has {', '.join(self.languages)}"
            )

    @property
    def splits(self) -> dict[str, dict[str, tuple[Path, ...]]]:
        """The files of every split there is."""
        given = {"train": self.train, "dev": self.dev, "test": self.test}
        return {
            split: {key: prefix if isinstance(prefix, tuple) else (prefix,) for key, prefix in files.items()}
            for split, files in given.items()
            if files
        }

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages as set, or those of training in alphabetical order."""
        return self.languages or tuple(sorted({language for key in self.train for language in languages_of(key)}))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files: dict[str, Path] = {}
        for split in self.splits:
            files |= self._files(split)
        return fingerprints({**files, **self.tokenizer_files})

    def tokens_depend_on(self, split: str) -> dict[str, object]:
        """What the tokens of a split are made of: digests of its files and of the tokenizer, and settings."""
        return {**self.tokenization, **fingerprints(self._files(split))}

    def _files(self, split: str) -> dict[str, Path]:
        return {
            f"{split}.{key}.{place}.{language}" if place else f"{split}.{key}.{language}": path
            for key, prefixes in self.splits[split].items()
            for place, prefix in enumerate(prefixes)
            for language, path in bitext_files(prefix, languages_of(key)).items()
        }

    def _unknown(self, key: str) -> list[str]:
        return [language for language in languages_of(key) if language not in self.spoken]


def pretraining(data: MultilingualText, request: DataRequest) -> PreparedData:
    """Every objective reads the form it needs: sentences, translations in a row, or translations to write."""
    data = replace(data, languages=data.language_ids(request.recipe, data.spoken))
    tokenizer = data.tokenizer()
    corpora = Corpora(data, tokenizer, cache(partial(read_bitext, data, tokenizer)))
    aligned = any(len(languages_of(key)) > 1 for key in data.train)
    codes = language_codes(tokenizer, data.spoken)
    pairs = (TRANSLATIONS, TARGETS, MIXED_DOCUMENTS)
    offers = Offers(
        data.name,
        {
            TEXTS: None,
            LANGUAGE_IDS: lambda: len(data.spoken),
            **(dict.fromkeys(pairs) if aligned else {}),
            **({} if codes is None else {LANGUAGE_CODES: lambda: codes}),
        },
        dict.fromkeys(pairs, "name languages that are aligned, such as de-en, among data.train"),
        {MaskedTokens.name: _masked_tokens},
    )
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)
    writes = "target" in request.recipe.reads
    frame = TranslationFrame(tokenizer.specials, "none" if codes is None else request.recipe.text.language_codes)

    def inputs(split: str, name: str) -> Source[Inputs]:
        needs = find_objective(name).needs
        if TRANSLATIONS in needs:
            return corpora.side_by_side(split)
        if MIXED_DOCUMENTS in needs:
            return corpora.documents(split)
        if writes and name == NextTokens.name:
            return corpora.to_translate(split, frame, codes or ())
        return corpora.both(split) if TARGETS in needs else corpora.alone(split)

    def source(split: str) -> SourcesOfObjectives:
        return SourcesOfObjectives({name: inputs(split, name) for name in objectives}, objectives)

    languages = {"num_languages": len(data.spoken)} if "languages" in request.recipe.reads else {}
    return PreparedData(
        sources={split: partial(source, split) for split in data.splits},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "mask_id": tokenizer.specials.mask, **languages},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def _masked_tokens(context: ObjectiveContext) -> MaskedTokens:
    """XLM's token masking, with or without translations."""
    return MaskedTokens(xlm_masking(context.specials, context.vocab_size, rate=context.mask_rate))


PRETRAINING_SUPPLY = TaskDataset(None, MultilingualText, pretraining)
