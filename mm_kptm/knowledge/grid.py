"""Entities on the token grid: from mentions in a text to one entity number a token.

A mention is told by characters; an entity stands at one token of it, or at none. Which token is a
:data:`Placement`: :func:`first_pieces` for new experiments, :func:`word_starts` as the released ERNIE has it.

Shapes: T token rows, N entities of a table, E entity dim.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import Entities, Inputs, Tokens
from mm_kptm.data.tokenizer import Pieces
from mm_kptm.errors import UserError
from mm_kptm.knowledge.triples import numbered_lines

NOTHING = -1  #: the number that stands for no entity


class Mention(NamedTuple):
    """Some characters of a text and the entity that they name."""

    entity: str
    start: int  #: the first character
    end: int  #: the one after the last
    score: float = 1.0  #: how sure the linker is


Placed = list[str | None]  #: the entity of every piece
Placement = Callable[[str, Pieces, Sequence[Mention]], Placed]


def first_pieces(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """An entity stands at the first piece that begins inside its mention; of two mentions the first one keeps it.

    >>> first_pieces("(Rome)", Pieces((5, 6, 7), ("(", "rome", ")"), ((0, 1), (1, 5), (5, 6))), [Mention("Q220", 1, 5)])
    [None, 'Q220', None]
    """
    placed: Placed = [None] * len(pieces.ids)
    starts = [start for start, _ in pieces.spans]
    for mention in mentions:
        piece = bisect_left(starts, mention.start)
        if piece < len(starts) and starts[piece] < mention.end and placed[piece] is None:
            placed[piece] = mention.entity
    return placed


def word_starts(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """An entity stands at the first piece of the word, cut at blanks, that begins where its mention begins.

    The rule of the released code: a mention behind a bracket or a quotation mark is lost, its end does not matter, and
    the last of the mentions that begin together counts.
    """
    words = _words(text)
    starts = {words.kept_from(mention.start): mention.entity for mention in mentions}
    return [starts.get(word) if word != before else None for before, word in pairwise([-1, *words.of(pieces)])]


def whole_words(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """An entity stands at every word, cut at blanks, that begins inside its mention: at all pieces up to punctuation.

    The released code's second rule, which only asks whether the target of entity typing is still in a cut text. Of an
    entity that is mentioned twice, the last mention counts.
    """
    spans = {mention.entity: mention for mention in mentions}
    placed: Placed = []
    for (before, word), piece in zip(pairwise([-1, *_words(text).of(pieces)]), pieces.texts, strict=True):
        if word != before:
            named = next((name for name, span in spans.items() if span.start <= word < span.end), None)
        elif not (piece.startswith("##") and len(piece) > 2):
            named = None  # behind punctuation: for the rest of the word
        placed.append(named)
    return placed


class _Words(NamedTuple):
    """Where the words of a text begin; characters that a tokenizer drops belong to none."""

    kept: list[int]
    starts: list[int]

    def kept_from(self, place: int) -> int:
        """The first character from ``place`` on that the tokenizer keeps, -1 if there is none."""
        at = bisect_left(self.kept, place)
        return self.kept[at] if at < len(self.kept) else -1

    def of(self, pieces: Pieces) -> list[int]:
        """Where the word of every piece begins."""
        return [self.starts[bisect_right(self.starts, start) - 1] for start, _ in pieces.spans]


def _words(text: str) -> _Words:
    kept = [place for place, letter in enumerate(text) if not _dropped(letter)]
    starts = [
        place
        for before, place in zip([None, *kept], kept, strict=False)
        if not _blank(text[place]) and (before is None or _blank(text[before]))
    ]
    return _Words(kept, starts)


def _blank(letter: str) -> bool:
    return letter in "\t\n\r" or unicodedata.category(letter) == "Zs"


def _dropped(letter: str) -> bool:
    """Whether BERT's tokenizers clean the character away."""
    return letter not in "\t\n\r" and (letter == "\ufffd" or unicodedata.category(letter).startswith("C"))


@dataclass(frozen=True, eq=False)
class EntityTable:
    """The entities that have a vector; the vectors are looked up here and never trained."""

    numbers: Mapping[str, int]  #: from the name of an entity to its row
    vectors: Tensor  #: [N, E]

    @classmethod
    def open(cls, folder: str | Path) -> EntityTable:
        """From the released ``entity2id.txt`` and ``entity2vec.vec`` of a folder.

        Raises:
            UserError: a file is missing or a line of it cannot be read, or an entity has no vector.
        """
        numbers = read_entity_ids(Path(folder) / "entity2id.txt")
        vectors = read_vectors(Path(folder) / "entity2vec.vec")
        for name, number in numbers.items():
            if number >= len(vectors):
                raise UserError(
                    f"{Path(folder) / 'entity2id.txt'} gives {name} the number {number}, but entity2vec.vec has "
                    f"{len(vectors)} lines; numbers count from 0"
                )
        return cls(numbers, vectors)

    def number_of(self, name: str | None) -> int:
        """The row of an entity, -1 where there is none."""
        return NOTHING if name is None else self.numbers.get(name, NOTHING)

    @property
    def hash(self) -> str:
        """What tells this table from others: of its names with their rows, and of its vectors."""
        digest = sha256()
        for name, number in self.numbers.items():
            digest.update(f"{name}\t{number}\n".encode())
        digest.update(self.vectors.contiguous().numpy().data)
        return digest.hexdigest()

    def entities(self, grid: Sequence[Sequence[int]]) -> Entities:
        """Vectors and flags of a batch of sequences of entity numbers.

        Raises:
            UserError: a number has no row in the table.
        """
        ids = torch.tensor(list(chain.from_iterable(grid)), dtype=torch.long)
        if len(ids) and int(ids.max()) >= len(self.vectors):
            raise UserError(f"entity number {int(ids.max())} was asked for, but the table has {len(self.vectors)} rows")
        linked = ids >= 0
        vectors = self.vectors.new_zeros(len(ids), self.vectors.shape[1])
        vectors[linked] = self.vectors[ids[linked]]
        return Entities(vectors=vectors, linked=linked, ids=ids)

    def inputs(self, tokens: Sequence[Sequence[int]], grid: Sequence[Sequence[int]]) -> Inputs:
        """A batch of token sequences with the entity numbers beside them.

        Raises:
            UserError: a sequence has more or fewer entity numbers than tokens.
        """
        for number, (ids, entities) in enumerate(zip(tokens, grid, strict=True)):
            if len(ids) != len(entities):
                raise UserError(f"sequence {number} has {len(ids)} tokens but {len(entities)} entity numbers")
        return Inputs(text=Tokens.of(tokens), entities=self.entities(grid))


def read_entity_ids(path: str | Path) -> dict[str, int]:
    """The numbers of entities in a released ``entity2id.txt``: perhaps a count, then a name and a number a line.

    Raises:
        UserError: there is no such file, or a line is not of that form.
    """
    numbers: dict[str, int] = {}
    for place, line in _numbered(Path(path)):
        parts = line.strip().rsplit(maxsplit=1)  # a name may hold blanks
        if place == 1 and len(parts) == 1 and parts[0].isdigit():
            continue
        if len(parts) != 2 or not parts[1].isdigit():
            raise UserError(f"{path}, line {place}: a name and its number, set apart by a tab, not {line.strip()!r}")
        numbers[parts[0]] = int(parts[1])
    return numbers


def read_vectors(path: str | Path) -> Tensor:
    """The vectors of a released ``entity2vec.vec``, one a line, its numbers set apart by tabs or blanks, [N, E].

    Raises:
        UserError: there is no such file, it is empty, or a line holds no numbers or more or fewer than those before.
    """
    rows: list[NDArray[np.float32]] = []
    for place, line in _numbered(Path(path)):
        try:
            row = np.array(line.split(), dtype=np.float32)
        except ValueError:
            raise UserError(f"{path}, line {place}: a vector is numbers set apart by tabs, not {line[:40]!r}") from None
        if rows and len(row) != len(rows[0]):
            raise UserError(f"{path}, line {place}: {len(row)} numbers, but the lines before have {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} is empty; it has one vector a line")
    return torch.from_numpy(np.stack(rows))


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise UserError(f"entities were looked for in {path}, but there is no such file")
    return numbered_lines(path)
