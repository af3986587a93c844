"""Tagging of words on XTREME's files: sentences that are too long are cut in parts, and joined again for scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mm_kptm.data.formats.uer_tsv import Tagged
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.protocol import DataRequest, PreparedData
from mm_kptm.datasets.settings import by_split
from mm_kptm.datasets.text.sources import tagged
from mm_kptm.datasets.text.xtreme_files import TagLines, check_files, write_lines_of
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.text.tagging import PART, NamedEntities, TaggedSource, sentences_of


def word_files(
    data: KnowledgeFileSettings,
    request: DataRequest,
    task: type[NamedEntities],
    read: Callable[[Path], Sequence[Tagged]],
    tags: Sequence[str],
    *,
    folder: str,
) -> PreparedData:
    """Tags of words on files.

    Args:
        data: the settings.
        request: the encoder.
        task: builds the head and scores.
        read: the sentences of one file.
        tags: to choose from.
        folder: of the task in a submission to XTREME.
    """
    encoding, examples = data.text_encoding(request, words=True), by_split(data.files, read)
    room = encoding.template.max_pieces(data.max_length, 1, encoding.tokenizer.specials)

    def made(sentences: Sequence[Tagged]) -> TaggedSource:
        parts = [part for one in sentences for part in parts_of(one, encoding.tokenizer, room)]
        return tagged(parts, tags, encoding)

    def source(split: str) -> TaggedSource:
        return made(examples(split))

    def submit(split: str, rows: Sequence[Row], to: Path) -> list[Path]:
        lines: defaultdict[str, list[str]] = defaultdict(list)
        asked = examples(split)
        for one, given in zip(asked, answers_of(rows), strict=True):
            lines[one.language] += [*([""] if lines[one.language] else ()), *given]
        written = write_lines_of(lines, to, folder, split)
        check_files(to, folder, split, expected_tags(asked, tags))
        return written

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=partial(task, tags=tags),
        sizes={"vocab_size": len(encoding.tokenizer), "num_languages": max(len(encoding.languages), 1)},
        heads=task.heads(request.recipe, len(tags), facts=encoding.injector is not None),
        fingerprints=data.fingerprints,
        encoding=encoding,
        read_file=lambda path: made(read(path)),
        submit=submit,
    )


def parts_of(one: Tagged, tokenizer: Tokenizer, room: int) -> list[Tagged]:
    """The sentence, or parts of it that have ``room`` pieces at most; a single longer word is a part by itself."""
    starts, filled = [0], 0
    for place, word in enumerate(one.words):
        pieces = max(len(tokenizer.encode(word, one.language).ids), 1)
        if filled + pieces > room and place > starts[-1]:
            starts.append(place)
            filled = 0
        filled += pieces
    if len(starts) == 1:
        return [one]
    ends = [*starts[1:], len(one.words)]
    return [
        Tagged(
            f"{one.id}{PART}{number}",
            one.words[start:end],
            None if one.tags is None else one.tags[start:end],
            one.language,
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1)
    ]


def answers_of(rows: Sequence[Row]) -> list[list[str]]:
    """The predicted tags of every sentence, its parts joined."""
    return [given for given, _ in sentences_of([{**row, "target": ""} for row in rows])]


def expected_tags(sentences: Sequence[Tagged], tags: Sequence[str]) -> dict[str, TagLines]:
    """A tag for each word, by language."""
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    for one in sentences:
        lengths[one.language].append(len(one.words))
    return {language: TagLines(tuple(some), tags) for language, some in lengths.items()}
