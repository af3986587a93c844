"""N-gram lexicon of ZEN: words and phrases that cover characters of a text (Diao et al. 2020).

A matched n-gram is a span with one candidate, its id in the lexicon (:class:`~mm_kptm.batch.Candidates`). Matches may
overlap, and none is preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mm_kptm.batch import Candidates, SequenceLayout, Tokens
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_count, numbered_lines

N_GRAMS = "n-grams"  #: key of the n-gram candidates in the inputs


class Match(NamedTuple):
    """N-gram match in a text."""

    first: int
    length: int
    number: int


class NgramLexicon:
    """Lexicon of n-grams of token ids; ids start at 1, 0 is none.

    Args:
        ngrams: n-grams in the order of their ids; of equal ones the last id is used.
        shortest, max_length: lengths in tokens of the n-grams that are matched; others only take an id.
    """

    def __init__(self, ngrams: Iterable[Sequence[int]], *, shortest: int = 2, max_length: int = 7) -> None:
        self._numbers: dict[tuple[int, ...], int] = {}
        lengths: dict[int, set[int]] = {}
        number = 0
        for number, ngram in enumerate(map(tuple, ngrams), start=1):
            if shortest <= len(ngram) <= max_length:
                self._numbers[ngram] = number
                lengths.setdefault(ngram[0], set()).add(len(ngram))
        self._lengths = {first: tuple(sorted(found)) for first, found in lengths.items()}
        self._rows = number + 1

    @classmethod
    def open(cls, path: str | Path, tokenizer: Tokenizer) -> NgramLexicon:
        """Open a released ``ngram.txt``, or a folder with one: an n-gram, a comma and its count per line.

        Raises:
            UserError: there is no such file, or a line is malformed.
        """
        path = Path(path)
        path = path / "ngram.txt" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"n-grams were looked for in {path}, but there is no such file")
        return cls(tokenizer.encode(ngram).ids for ngram in _ngrams(path))

    def __len__(self) -> int:
        """Rows of an embedding table of the lexicon, id 0 included."""
        return self._rows

    def matches(self, ids: Sequence[int]) -> list[Match]:
        """All matches in a text, shortest first, then by position."""
        found = []
        for first, token in enumerate(ids):
            for length in self._lengths.get(token, ()):
                tokens = tuple(ids[first : first + length])
                if len(tokens) == length and (number := self._numbers.get(tokens)) is not None:
                    found.append(Match(first, length, number))
        return sorted(found, key=lambda match: (match.length, match.first))

    def candidates(self, tokens: Tokens, generator: torch.Generator, *, most: int = 128) -> Candidates:
        """N-gram candidates of every text of a batch.

        Args:
            tokens: tokens of the batch; masked tokens match only by chance.
            generator: samples the kept matches of a text with more.
            most: maximum number of matches per text; 20 in the released pretraining.
        """
        ids = tokens.ids.tolist()
        spans: list[tuple[int, int]] = []
        numbers: list[int] = []
        counts: list[int] = []
        for first, length in zip(tokens.layout.offsets, tokens.layout.lengths, strict=False):
            found = self.matches(ids[first : first + length])
            if len(found) > most:
                kept = torch.randperm(len(found), generator=generator)[:most].sort().values
                found = [found[place] for place in kept.tolist()]
            spans += [(first + match.first, first + match.first + match.length - 1) for match in found] or [(-1, -1)]
            numbers += [match.number for match in found] or [0]
            counts.append(max(len(found), 1))
        return Candidates(
            torch.tensor(spans, dtype=torch.long).view(-1, 2),
            SequenceLayout(tuple(counts)),
            torch.tensor(numbers, dtype=torch.long)[:, None],
            torch.ones(len(numbers), 1),
        )


def _ngrams(path: Path) -> Iterator[str]:
    for number, line in numbered_lines(path):
        ngram, _, count = line.rpartition(",")
        if not ngram or not is_count(count.strip()):
            raise UserError(f"{path}, line {number} should be an n-gram, a comma and a count, not {line[:40]!r}")
        yield ngram
