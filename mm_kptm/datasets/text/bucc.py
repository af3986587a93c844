"""BUCC 2018: translations among the sentences of two corpora that are not aligned (Zweigenbaum et al. 2018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.xtreme import NumberedSentence, read_gold_pairs, read_numbered
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import TextSettings, fingerprints
from mm_kptm.datasets.text.xtreme_files import PairLines, check_files, write_lines_of
from mm_kptm.errors import UserError
from mm_kptm.models.sentence_embedding import MeanAtDepth, first_state
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.text.mining import FIRST, SECOND, BitextMining, Corpora, CorpusSource

ENGLISH = "en"
LANGUAGES = ("de", "fr", "ru", "zh")


@dataclass(frozen=True, kw_only=True)
class BuccData(TextSettings):
    """Corpora of a language and English, ``bucc2018/de-en.dev.de`` and ``.en``, and gold pairs, ``.gold``."""

    name: Literal["bucc"]
    test: dict[str, Path]  #: beginnings of files by language, such as {de: bucc2018/de-en.test}
    dev: dict[str, Path] = field(default_factory=dict)  #: those on which thresholds are chosen, likewise
    max_length: int = 512  #: pieces of a sentence that are read, special ones included
    layer: int | None = None  #: layer whose states are averaged; null: the last state of the first token, as in XTREME
    margin: Literal["ratio", "distance", "absolute"] = "ratio"  #: distance ranks pairs as CSLS does
    neighbours: int = 4  #: on each side

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.test:
            raise UserError("data.test is empty; name languages and the beginnings of their files")
        if self.neighbours < 1:
            raise UserError(f"data.neighbours is {self.neighbours} but must be at least 1")

    @property
    def splits(self) -> dict[str, dict[str, Path]]:
        """The files of every split there is."""
        return {split: files for split, files in {"dev": self.dev, "test": self.test}.items() if files}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        files = {
            f"{split}.{language}.{end}": path
            for split, named in self.splits.items()
            for language, prefix in named.items()
            for end, path in _files(prefix, language).items()
            if end != "gold" or path.is_file()
        }
        return fingerprints({**files, **self.tokenizer_files})


def _files(prefix: Path, language: str) -> dict[str, Path]:
    return {end: prefix.with_name(f"{prefix.name}.{end}") for end in (language, ENGLISH, "gold")}


@dataclass(frozen=True)
class CorpusPair:
    """Distinct sentences of a language and of English, with what is known of them."""

    language: str
    first: tuple[NumberedSentence, ...]
    second: tuple[NumberedSentence, ...]
    known: Corpora


def read_corpora(prefix: Path, language: str) -> CorpusPair:
    """The two corpora that begin with ``prefix``; gold pairs may be missing.

    Raises:
        UserError: a file cannot be read, or gold pairs name a sentence that is not there.
    """
    files = _files(prefix, language)
    sides = [read_numbered(files[end]) for end in (language, ENGLISH)]
    repeated: set[str] = set()
    distinct: list[tuple[NumberedSentence, ...]] = []
    for sentences in sides:
        counts = Counter(one.text for one in sentences)
        firsts = {one.text: one for one in reversed(sentences)}
        repeated |= {firsts[text].id for text, count in counts.items() if count > 1}
        distinct.append(tuple(one for one in sentences if firsts[one.text] is one))
    gold = None
    if files["gold"].is_file():
        gold = frozenset(read_gold_pairs(files["gold"]))
        for ids, sentences, end in zip(zip(*gold, strict=True), sides, (language, ENGLISH), strict=False):
            if strange := sorted(set(ids) - {one.id for one in sentences}):
                raise UserError(f"{files['gold']} names the sentence {strange[0]}, which {files[end]} does not hold")
    return CorpusPair(language, distinct[0], distinct[1], Corpora(gold, frozenset(repeated)))


def bucc(data: BuccData, request: DataRequest) -> PreparedData:
    """Pairs that are translations, by margin and by a threshold that is chosen on development data."""
    encoding = TextEncoding(data.tokenizer(), data.max_length, data.language_ids(request.recipe))

    @cache
    def pairs(split: str) -> tuple[CorpusPair, ...]:
        return tuple(read_corpora(prefix, language) for language, prefix in data.splits[split].items())

    @cache
    def source(split: str) -> CorpusSource:
        texts: list[TextExample] = []
        about: list[Example] = []
        for pair in pairs(split):
            gold = dict(pair.known.gold or ())
            back = {other: one for one, other in gold.items()}
            for kind, side, spoken in ((FIRST, pair.first, pair.language), (SECOND, pair.second, ENGLISH)):
                found = gold if kind == FIRST else back
                texts += [TextExample(one.id, (one.text,), spoken) for one in side]
                about += [Example(one.id, kind, pair.language, one.id, found.get(one.id, "")) for one in side]
        return CorpusSource(encoding.texts(texts), tuple(about), {one.language: one.known for one in pairs(split)})

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        lines: dict[str, list[str]] = {language: [] for language in data.splits[split]}
        for row in rows:
            if row["type"] == FIRST and row["answer"]:
                lines[str(row["language"])].append(f"{row['id']}\t{row['answer']}")
        written = write_lines_of(lines, folder, "bucc2018", split)
        check_files(folder, "bucc2018", split, expected_pairs(pairs(split), allow_empty=True))
        return written

    return PreparedData(
        sources={split: partial(source, split) for split in data.splits},
        model=partial(
            BitextMining,
            vectors=first_state if data.layer is None else MeanAtDepth(data.layer),
            margin=data.margin,
            neighbours=data.neighbours,
            development=partial(source, "dev") if data.dev else None,
        ),
        sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1)},
        fingerprints=data.fingerprints,
        encoding=encoding,
        submit=submit,
    )


def expected_pairs(corpora: Sequence[CorpusPair], *, allow_empty: bool = False) -> dict[str, PairLines]:
    """Pairs of ids of the two corpora, by language; ``allow_empty`` where an encoder may have found none."""
    return {
        one.language: PairLines(frozenset(s.id for s in one.first), frozenset(s.id for s in one.second), allow_empty)
        for one in corpora
    }


BUCC = TaskDataset(BitextMining, BuccData, bucc)
