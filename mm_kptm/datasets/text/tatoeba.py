"""Tatoeba: translations of English sentences in many languages, found by their vectors (Artetxe and Schwenk 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.crosslingual.corpora.moses import moses_files, read_aligned
from mm_kptm.data.formats.jsonl import Translated
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.datasets.text.sources import translated
from mm_kptm.datasets.text.xtreme_files import Lines, check_files, write_lines_of
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.text.sentence_retrieval import (
    ParallelSentences,
    SentenceVectorSettings,
    TranslationSource,
    controls,
)

ENGLISH = "en"
LANGUAGES = (
    "af", "ar", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv",
    "ka", "kk", "ko", "ml", "mr", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi", "zh",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TatoebaData(SentenceVectorSettings, TextSettings):
    """Aligned files of a language and English: XTREME's ``tatoeba/de-en.de``, or LASER's ``tatoeba.deu-eng.deu``."""

    name: Literal["tatoeba"]
    test: dict[str, Path] = field(default_factory=dict)  #: beginnings of files by language, such as {de: tatoeba/de-en}
    train: dict[str, Path] = field(default_factory=dict)  #: translations to learn from, likewise; none is needed
    max_length: int = 512  #: pieces of a sentence that are read, special ones included

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.test:
            raise UserError("data.test is empty; name languages and the beginnings of their files")

    @property
    def splits(self) -> dict[str, dict[str, Path]]:
        """The files of every split there is."""
        return {split: files for split, files in {"train": self.train, "test": self.test}.items() if files}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files = {
            f"{split}.{language}.{end}": path
            for split, named in self.splits.items()
            for language, prefix in named.items()
            for end, path in moses_files(prefix, endings(prefix, language)).items()
        }
        return fingerprints({**files, **self.tokenizer_files})


def endings(prefix: Path, language: str) -> tuple[str, str]:
    """How the names of the two files end: by three-letter codes where LASER's do, else by two letters.

    >>> endings(Path("tatoeba.deu-eng"), "de"), endings(Path("de-en"), "de")
    (('deu', 'eng'), ('de', 'en'))
    """
    first, dash, second = prefix.name.rpartition(".")[2].partition("-")
    return (first, second) if dash and (len(first), second) == (3, "eng") else (language, ENGLISH)


def tatoeba(data: TatoebaData, request: DataRequest) -> PreparedData:
    """The nearest sentence of a language to every English one, by cosine."""
    encoding = TextEncoding(data.tokenizer(), data.max_length, data.language_ids(request.recipe))

    @cache
    def examples(split: str) -> tuple[Translated, ...]:
        found = []
        for language, prefix in data.splits[split].items():
            for number, (one, english) in enumerate(read_aligned(prefix, endings(prefix, language)), 1):
                found.append(Translated(f"{language}-{number}", {language: one, ENGLISH: english}))
        return tuple(found)

    def source(split: str) -> TranslationSource:
        return translated(examples(split), encoding)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        counts = {
            language: len(read_aligned(prefix, endings(prefix, language))) for language, prefix in data.test.items()
        }
        written = write_lines_of(retrieved(rows), folder, "tatoeba", split)
        check_files(folder, "tatoeba", split, expected_rows(counts))
        return written

    return PreparedData(
        sources={split: partial(source, split) for split in data.splits},
        model=data.retriever,
        sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1)},
        fingerprints=data.fingerprints,
        encoding=encoding,
        submit=submit,
        baselines=lambda split: controls(source(split)),
    )


def retrieved(rows: Sequence[Row]) -> dict[str, list[str]]:
    """For every English line of each language the row of the sentence that was found, from 0 on."""
    found: dict[str, list[str]] = {}
    for row in rows:
        source, target = str(row["type"]).split("-")
        if source == ENGLISH:
            place = int(str(row["answer"]).rpartition("-")[2]) - 1
            found.setdefault(target, []).append(str(place))
    return found


def expected_rows(counts: dict[str, int]) -> dict[str, Lines]:
    """A row for each English line, by language."""
    return {
        language: Lines(count, [str(number) for number in range(count)], f"English sentences with {language!r}")
        for language, count in counts.items()
    }


TATOEBA = TaskDataset(ParallelSentences, TatoebaData, tatoeba)
