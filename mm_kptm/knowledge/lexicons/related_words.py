"""Synonym and hypernym pairs of words with hard negatives (Lauscher et al. 2020, LIBERT).

Positive pairs come from a graph: words of one synset, and words of a synset and its direct hypernym. Negatives are
mined in each batch: words that are close in an auxiliary vector space but not related, so that the model separates
similarity from mere co-occurrence.

Shapes: N words, E width of a vector.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.graph import KnowledgeGraph

WordPair = tuple[str, str]


@dataclass(frozen=True)
class RelatedWords:
    """Distinct related pairs of words, in graph order."""

    pairs: tuple[WordPair, ...]

    @classmethod
    def of(
        cls, graph: KnowledgeGraph, *, relations: Collection[str] = ("hypernym",), language: str = "en"
    ) -> RelatedWords:
        """Pairs from a graph: the words of each entity, and the words of entities in a given relation.

        Args:
            graph: WordNet, or any other graph. An entity without words in the language stands for itself, as in
                graphs whose entities are words.
            relations: direct hypernymy, or the relations of similar words (``Synonym`` and ``IsA`` in ConceptNet).
            language: language of the words.

        Raises:
            UserError: no two words are related.
        """
        known = graph.words.aliases.get(language, {})

        def words(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(word.lower() for word in known.get(name, (name,))))

        found: dict[WordPair, None] = {}
        for name in graph.entities:
            _add(found, combinations(words(name), 2))
        for head, relation, tail in graph:
            if relation in relations:
                _add(found, product(words(head), words(tail)))
        if not found:
            raise UserError(
                f"no two words are related in a graph of {len(graph)} triples: no name has two words in {language!r}, "
                f"and no relation is called {' or '.join(sorted(relations))}; it has {', '.join(graph.relations[:9])}"
            )
        return cls(tuple(found))

    @cached_property
    def _known(self) -> frozenset[frozenset[str]]:
        return frozenset(map(frozenset, self.pairs))

    def __contains__(self, pair: WordPair) -> bool:
        """Whether two words are related, in either order."""
        return frozenset(pair) in self._known

    def __len__(self) -> int:
        return len(self.pairs)


def _add(found: dict[WordPair, None], pairs: Iterable[WordPair]) -> None:
    for one, other in pairs:
        if one != other and (other, one) not in found:
            found[one, other] = None


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Auxiliary word vectors; a multi-word term has the mean of its known words."""

    numbers: dict[str, int]
    vectors: Tensor  #: [N, E]

    @classmethod
    def open(cls, path: str | Path, words: Collection[str] | None = None) -> WordVectors:
        """Open a fastText or word2vec text file, plain or ``.gz``: a word and its values per line.

        Args:
            path: path of the file; a first line with the number of words and the dim is skipped.
            words: words to keep, in lower case; default all.

        Raises:
            UserError: there is no such file, or a line is malformed.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"vectors of words were looked for in {path}, but there is no such file")
        numbers: dict[str, int] = {}
        rows: list[Tensor] = []
        for place, line in numbered_lines(path):
            word, *values = line.rstrip(" ").split(" ")
            if (place == 1 and len(values) == 1) or (words is not None and word.lower() not in words):
                continue
            try:
                row = torch.tensor([float(value) for value in values])
            except ValueError:
                row = torch.zeros(0)
            if not len(row) or (rows and len(row) != len(rows[0])):
                wide = f"{len(rows[0])} numbers as in the lines before" if rows else "its numbers"
                raise UserError(f"{path}, line {place} should be a word and {wide}, not {line[:40]!r}")
            if numbers.setdefault(word, len(rows)) == len(rows):
                rows.append(row)
        if not rows:
            raise UserError(
                f"{path} has a vector of none of the words; it is a file of one word and its numbers a line"
            )
        return cls(numbers, torch.stack(rows))

    def of(self, terms: Sequence[str]) -> Tensor:
        """Unit vectors of terms, [N, E]; zero where no word of a term is known, lower-case or capitalised."""
        found = self.vectors.new_zeros(len(terms), self.vectors.shape[1])
        for place, term in enumerate(terms):
            known = [
                self.numbers[form]
                for part in term.split(" ")
                if (form := part if part in self.numbers else part.capitalize()) in self.numbers
            ]
            if known:
                found[place] = self.vectors[known].mean(0)
        return F.normalize(found, dim=1)


class Judged(NamedTuple):
    """Pair of words and its label."""

    first: str
    second: str
    related: bool
    owner: int  #: index in the batch of the positive pair that this is, or was derived from


def contrasted(batch: Sequence[WordPair], related: RelatedWords, vectors: WordVectors) -> list[Judged]:
    """Positive pairs of a batch, each with mined negatives.

    A pair (a, b) gives negatives (a, c) and (b, d), where c is nearest to a and d to b among the words of the batch
    that are neither in the pair nor related to it; fewer where there is no such word, or a word has no vector.
    """
    words = list(dict.fromkeys(word for pair in batch for word in pair))
    directions = vectors.of(words)
    known = directions.any(1)
    near = (directions @ directions.T).masked_fill(~known, float("-inf"))
    order = near.argsort(dim=1, descending=True)[:, : int(known.sum())].tolist()
    rows = zip(words, order, known.tolist(), strict=True)
    nearest = {word: [words[place] for place in row] for word, row, there in rows if there}
    judged = []
    for owner, pair in enumerate(batch):
        judged.append(Judged(*pair, related=True, owner=owner))
        for word in pair:
            unrelated = (other for other in nearest.get(word, ()) if other not in pair and (word, other) not in related)
            if (other := next(unrelated, None)) is not None:
                judged.append(Judged(word, other, related=False, owner=owner))
    return judged
