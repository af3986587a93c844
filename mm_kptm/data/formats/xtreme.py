"""Readers of XTREME's files: pairs of sentences, words with tags, sentences to be matched.

A file names its language: ``test-de.tsv``, or lies in a folder that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.data.formats.uer_tsv import Tagged
from mm_kptm.data.formats.xnli import SentencePair, first_sentence, language_in, unquoted
from mm_kptm.errors import UserError
from mm_kptm.io.records import once, one_of, read_table
from mm_kptm.io.text_lines import is_blank, numbered_lines

_CODE = re.compile(r"^[a-z]{2,3}$")

PARAPHRASE = ("0", "1")  #: PAWS-X's labels: other meaning, same meaning
UNIVERSAL_TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
)  # fmt: skip
ENTITY_TAGS = ("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O")

_PAWS = ("sentence1", "sentence2")


def language_of(path: Path) -> str:
    """The language in the name of a file, or in that of its folder.

    Raises:
        UserError: neither names one.

    >>> language_of(Path("pawsx/test-de.tsv")), language_of(Path("x-final/ko/test_2k.tsv"))
    ('de', 'ko')
    """
    if found := language_in(path.name):
        return found
    if _CODE.match(path.parent.name):
        return path.parent.name
    raise UserError(f"{path} names no language; call it test-de.tsv, say, or let it lie in a folder de")


def read_paws_x(path: str | Path) -> tuple[SentencePair, ...]:
    """Pairs of PAWS-X, in XTREME's files (two sentences and perhaps a label) or its own (with a header and ids).

    Of ``en-de-translated.tsv``, a pair and its machine translation in every line, the translation is read.

    Translations of a pair stand in the same line of every language and share a group.

    Raises:
        UserError: the file cannot be read, names no language, or a line lacks a sentence or has another label.
    """
    path = Path(path)
    language = language_of(path)
    rows = read_table(path)
    header = [cell.strip() for cell in rows[0][0]]
    start = first_sentence(path)
    columns, first = (start, start + 1, start + 2), 0
    if set(_PAWS) <= set(header):
        columns, first = (
            (
                header.index("sentence1"),
                header.index("sentence2"),
                header.index("label") if "label" in header else len(header),
            ),
            1,
        )
    pairs = []
    for number, (cells, place) in enumerate(rows[first:], 1):
        one, other = (unquoted(cells[column].strip()) if column < len(cells) else "" for column in columns[:2])
        if is_blank(one) or is_blank(other):
            raise UserError(f"{place} has an empty sentence; both must be there, with a tab between them")
        label = cells[columns[2]].strip() if columns[2] < len(cells) else ""
        gold = one_of(label, PARAPHRASE, f"{place}: the label") if label else None
        pairs.append(SentencePair(f"{language}-{number}", one, other, gold, language, f"pair-{number}"))
    return tuple(pairs)


def read_parts_of_speech(path: str | Path) -> tuple[Tagged, ...]:
    """Words and their universal tags, one a line and an empty line between sentences; a missing tag is X.

    Raises:
        UserError: the file cannot be read, names no language, or a line has another tag.
    """
    return _read_words(Path(path), UNIVERSAL_TAGS, lambda word, language: word, missing="X")


def read_pan_x(path: str | Path) -> tuple[Tagged, ...]:
    """Words and their entity tags; a word may have its language before it, as WikiAnn has ``de:Rom``.

    Raises:
        UserError: the file cannot be read, names no language, or a line has another tag or none where others have.
    """

    def plain(word: str, language: str) -> str:
        before, colon, rest = word.partition(":")
        return rest if colon and rest and (before == language or _CODE.match(before)) else word

    return _read_words(Path(path), ENTITY_TAGS, plain)


def _read_words(
    path: Path, tags: Sequence[str], plain: Callable[[str, str], str], *, missing: str | None = None
) -> tuple[Tagged, ...]:
    language = language_of(path)
    sentences: list[Tagged] = []
    words: list[tuple[str, str | None, str]] = []
    for number, line in [*numbered_lines(path), (0, "")]:
        if line.strip():
            word, *rest = line.split("\t")
            tag = rest[0].strip() if rest else ""
            if not word.strip():
                raise UserError(f"{path}, line {number} has no word before its tag")
            place = f"{path}, line {number}"
            gold = one_of(tag, tags, f"{place}: the tag") if tag else None
            words.append((plain(word.strip(), language), gold, place))
        elif words:
            sentences.append(_sentence(f"{language}-{len(sentences) + 1}", words, language, missing))
            words = []
    if not sentences:
        raise UserError(f"{path} holds no sentence; one word a line was expected")
    if missing is not None and all(one.tags is not None and set(one.tags) == {missing} for one in sentences):
        return tuple(Tagged(one.id, one.words, None, one.language) for one in sentences)  # a test without tags
    return tuple(sentences)


def _sentence(id_: str, words: Sequence[tuple[str, str | None, str]], language: str, missing: str | None) -> Tagged:
    spelled = tuple(word for word, _, _ in words)
    tags = [missing if tag is None else tag for _, tag, _ in words]
    known = [tag for tag in tags if tag is not None]
    if known and len(known) < len(tags):
        raise UserError(f"{words[tags.index(None)][2]} has no tag, but other words of its sentence have one")
    return Tagged(id_, spelled, tuple(known) or None, language)


@dataclass(frozen=True)
class NumberedSentence:
    """A sentence of a corpus to be mined."""

    id: str
    text: str


def read_numbered(path: str | Path) -> tuple[NumberedSentence, ...]:
    """BUCC's sentences: an id, a tab and the sentence in every line.

    Raises:
        UserError: the file cannot be read, a line has no id or sentence, or an id is there twice.
    """
    sentences = []
    seen: dict[str, str] = {}
    for cells, place in read_table(path):
        if len(cells) < 2 or is_blank(cells[0]) or is_blank(" ".join(cells[1:])):
            raise UserError(f"{place} must hold an id, a tab and a sentence")
        once(cells[0].strip(), place, seen, "the sentence")
        sentences.append(NumberedSentence(cells[0].strip(), " ".join(cells[1:]).strip()))
    return tuple(sentences)


def read_gold_pairs(path: str | Path) -> tuple[tuple[str, str], ...]:
    """BUCC's gold pairs: two ids with a tab between them in every line.

    Raises:
        UserError: the file cannot be read, or a line has not two ids.
    """
    pairs = []
    for cells, place in read_table(path):
        if len(cells) != 2:
            raise UserError(f"{place} has {len(cells)} cells between tabs; two ids were expected")
        pairs.append((cells[0].strip(), cells[1].strip()))
    return tuple(pairs)
