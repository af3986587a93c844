"""N-grams of a lexicon in a text: words and phrases that its characters may be part of (Diao et al. 2020, ZEN).

An n-gram that stands in a text is a span with one candidate, its number in the lexicon
(:class:`~mm_kptm.batch.Candidates`). Several may share a character, and none is chosen over another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mm_kptm.batch import Candidates, SequenceLayout, Tokens
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines

N_GRAMS = "n-grams"  #: what their candidates are called in inputs


class Match(NamedTuple):
    """An n-gram at a place of a text."""

    first: int
    length: int
    number: int


class NgramLexicon:
    """N-grams of token ids, numbered from 1; 0 stands for none.

    Args:
        ngrams: in order; of two that are alike the last one counts.
        shortest, longest: tokens of those that are looked for; others have their numbers only.
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
        """From a released ``ngram.txt``, or a folder that holds one: an n-gram, a comma and its count a line.

        Raises:
            UserError: no such file, or a line is not of that form.
        """
        path = Path(path)
        path = path / "ngram.txt" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"n-grams were looked for in {path}, but there is no such file")
        return cls(tokenizer.encode(ngram).ids for ngram in _ngrams(path))

    def __len__(self) -> int:
        """Rows of a table of these n-grams, that of none counted."""
        return self._rows

    def matches(self, ids: Sequence[int]) -> list[Match]:
        """Every n-gram at every place of a text, the shortest first, then by place."""
        found = []
        for first, token in enumerate(ids):
            for length in self._lengths.get(token, ()):
                tokens = tuple(ids[first : first + length])
                if len(tokens) == length and (number := self._numbers.get(tokens)) is not None:
                    found.append(Match(first, length, number))
        return sorted(found, key=lambda match: (match.length, match.first))

    def candidates(self, tokens: Tokens, generator: torch.Generator, *, most: int = 128) -> Candidates:
        """The n-grams of every text of a batch.

        Args:
            tokens: of the batch; what was hidden in them is part of no n-gram but by chance.
            generator: draws which ones are kept of a text that has more.
            most: n-grams of a text; 20 in the released pretraining.
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
        if not ngram or not count.strip().isdigit():
            raise UserError(f"{path}, line {number} should be an n-gram, a comma and a count, not {line[:40]!r}")
        yield ngram
