"""Plain-text documents, and their segmentation into sentences for pretraining.

Documents have BERT's format: one sentence per line, a blank line between documents (Devlin et al. 2019, released code).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from mm_kptm.data.formats.arrow_folders import read_texts
from mm_kptm.data.masking.units import whole_words, within_spans
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_table
from mm_kptm.io.text_lines import numbered_lines

Document = tuple[str, ...]  #: its sentences


@dataclass(frozen=True)
class DocumentSentence:
    """A tokenized sentence."""

    ids: tuple[int, ...]
    units: tuple[int, ...]  #: word or phrase index of each piece, from 0
    capitals: tuple[bool, ...]  #: whether the word of each piece is capitalised


@dataclass(frozen=True)
class LabelledPair:
    """A text pair and its label."""

    first: str
    second: str
    label: str


def read_sentences(path: str | Path) -> Iterator[tuple[int, str]]:
    """The sentences of a file with the number of the document of each, from 0, in order and one at a time.

    A folder that the library ``datasets`` saved has a document a row, and in its column ``text`` a sentence a line.

    Raises:
        UserError: the file cannot be read, is empty or is no UTF-8.
    """
    path = Path(path)
    number = -1
    if path.is_dir():
        lines = (line for text in read_texts(path) for line in (*text.split("\n"), ""))
    else:
        lines = (line for _, line in numbered_lines(path))
    between = True
    for line in lines:
        if sentence := line.strip():
            number += between
            between = False
            yield number, sentence
        else:
            between = True
    if number < 0:
        raise UserError(f"{path} is empty; a sentence a line, a blank line between documents, was expected")


def read_documents(path: str | Path) -> tuple[Document, ...]:
    """The documents of a file or folder, each as its sentences; ``UserError`` as :func:`read_sentences`."""
    return tuple(
        tuple(sentence for _, sentence in sentences)
        for _, sentences in groupby(read_sentences(path), key=itemgetter(0))
    )


def read_labelled_pairs(path: str | Path) -> tuple[LabelledPair, ...]:
    """Read tab-separated lines of two texts and a label.

    Raises:
        UserError: the file cannot be read, or a line is not of that form; the message names the line.
    """
    pairs = []
    for cells, place in read_table(path):
        if len(cells) != 3 or not all(cell.strip() for cell in cells):
            raise UserError(
                f"{place} should be two texts and a label, set apart by tabs; it is {' '.join(cells)[:40]!r}"
            )
        pairs.append(LabelledPair(*(cell.strip() for cell in cells)))
    return tuple(pairs)


def written(
    text: str, tokenizer: Tokenizer, phrases: Iterable[tuple[int, int]] = (), *, blanks: bool = False
) -> DocumentSentence:
    """Tokenize a sentence.

    Args:
        text: the sentence.
        tokenizer: the tokenizer.
        phrases: characters of phrases and entities, each of which is one unit; words are the others.
        blanks: whether words are what stands between blanks, as in Chinese that a segmenter cut; else pieces that
            ``##`` joins.
    """
    pieces = tokenizer.encode(text)
    words = list(_between_blanks(text)) if blanks else list(_joined(pieces.texts, pieces.spans))
    units = within_spans(pieces.spans, [*phrases, *words])
    owners = within_spans(pieces.spans, words)
    large = {owner for owner, (start, stop) in zip(owners, pieces.spans, strict=True) if _capital(text[start:stop])}
    return DocumentSentence(pieces.ids, tuple(units), tuple(owner in large for owner in owners))


def _between_blanks(text: str) -> Iterator[tuple[int, int]]:
    end = 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        yield start, end


def _joined(texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    places: dict[int, list[int]] = {}
    for place, word in enumerate(whole_words(texts, alone=frozenset())):
        places.setdefault(word, []).append(place)
    return ((spans[found[0]][0], spans[found[-1]][1]) for found in places.values())


def _capital(text: str) -> bool:
    return any(letter.isupper() for letter in text)
