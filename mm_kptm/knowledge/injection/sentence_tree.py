"""Sentence trees: facts hang as branches from the words of a sentence (Liu et al. 2020, K-BERT, sections 3.2-3.4).

A word with its facts looks the same wherever it stands, so it is written out once; a batch of sentences is then a few
gathers. Who sees whom is two small integers a token, never a matrix.

Shapes: B sentences, T tokens of all of them, facts included.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mm_kptm.batch import Movable, SequenceLayout, Tokens
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.triple_store import Integers, ends_of
from mm_kptm.nn.visibility import Branches

Spelling = Callable[[str], Sequence[int]]  #: the token ids of a word or of a fact
TokenIds = int | tuple[int, ...]  #: a word or a fact that is token ids already
Facts = Callable[
    [str], Sequence[str] | None
]  #: what hangs from a word, the most wanted first; ``get`` of a dict will do
Fit = Callable[["Trees", int], Tensor]  #: which tokens stay when a tree may have so many, true where kept, [T]

LONGEST = 32767  #: positions and words are counted in 16 bits
MOST_FACTS = 127  #: branches are counted in 8 bits
_MOST_WORDS = 1 << 18  # written-out words that are kept between two calls


class Spelt(NamedTuple):
    """The token ids of many texts, end to end."""

    ids: Integers  #: [T]
    lengths: Integers  #: how many are of each text


@runtime_checkable
class SpellsMany(Protocol):
    """A spelling that is quicker with many texts than with one after another."""

    def __call__(self, text: str, /) -> Sequence[int]:
        """The token ids of a text."""

    def many(self, texts: Sequence[str]) -> Spelt:
        """Those of many."""


class TokenWithFacts(NamedTuple):
    """A word whose facts are given, in place of those that a graph would give; each as text or as token ids."""

    word: str | TokenIds
    facts: tuple[str | TokenIds, ...]


Word = str | TokenIds | TokenWithFacts  #: of a sentence: as text, as token ids, or with its own facts


@dataclass(frozen=True, eq=False)
class Trees(Movable):
    """Sentence trees, flattened: every word is followed by its facts. Nine bytes a token."""

    ids: Tensor  #: int32, [T]
    positions: Tensor  #: soft positions: a fact goes on counting from its word, as if it were the only one; int16, [T]
    words: Tensor  #: which word of its sentence a token belongs to or hangs from, int16, [T]
    branches: Tensor  #: 0 on the trunk, otherwise which fact of its word, int8, [T]
    layout: SequenceLayout

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.layout)

    @property
    def mask(self) -> Branches | None:
        """Who sees whom (Liu et al. 2020, eq. 3); None when no fact hangs anywhere."""
        return Branches(self.words, self.branches) if bool(self.branches.any()) else None

    def tokens(self, *, separator: int | None = None, first_segment: int = 0) -> Tokens:
        """What an encoder reads.

        Segments begin at ``first_segment`` and go up by one behind every token ``separator``; a fact has the segment
        of its place.
        """
        return Tokens(
            ids=self.ids.long(),
            layout=self.layout,
            positions=self.positions.long(),
            segments=self._segments(separator) + first_segment,
            attention_mask=self.mask,
        )

    def labels(self, labels: Sequence[Sequence[int]], *, on_facts: int) -> Tensor:
        """The label of every token, [T], from those of the trunk tokens of each sentence; facts have ``on_facts``.

        Labels of trunk tokens that were cut off are passed over.

        Raises:
            UserError: a sentence has more trunk tokens than labels, or there are not as many sentences.
        """
        if len(labels) != len(self):
            raise UserError(f"there are labels for {len(labels)} sentences but {len(self)} sentence trees")
        on_trunk = self.branches == 0
        given: list[int] = []
        for number, (trunk, own) in enumerate(zip(self.layout.split(on_trunk), labels, strict=True)):
            if len(own) < (count := int(trunk.sum())):
                raise UserError(f"sentence {number} has {count} tokens without its facts but {len(own)} labels")
            given.extend(own[:count])
        spread = torch.full_like(self.ids, on_facts, dtype=torch.long)
        spread[on_trunk] = torch.tensor(given, dtype=torch.long, device=spread.device)
        return spread

    def take(self, sentences: Tensor) -> Trees:
        """The trees of those sentences, in that order."""
        layout, rows = self.layout.select(sentences)
        return Trees(self.ids[rows], self.positions[rows], self.words[rows], self.branches[rows], layout)

    def kept(self, keep: Tensor) -> Trees:
        """The trees without the tokens that are not marked in ``keep``, [T]; positions and words stay as they are."""
        lengths = self.layout.sequence_ids(keep.device)[keep].bincount(minlength=len(self))
        layout = SequenceLayout(tuple(lengths.tolist()))
        return Trees(self.ids[keep], self.positions[keep], self.words[keep], self.branches[keep], layout)

    def _segments(self, separator: int | None) -> Tensor:
        if separator is None:
            return torch.zeros_like(self.ids, dtype=torch.long)
        closes = (self.ids == separator).long()
        before = closes.cumsum(0) - closes
        starts = torch.cat([before, before.new_zeros(1)])[self.layout.starts(before.device)]
        return before - starts[self.layout.sequence_ids(before.device)]


def cut(trees: Trees, limit: int) -> Tensor:
    """Keep the first tokens of each flattened tree, as the released code does: facts push the sentence's end out."""
    return trees.layout.offsets_in_sequence(trees.ids.device) < limit


def spare_trunk(trees: Trees, limit: int) -> Tensor:
    """Keep the sentence, then as many whole facts as there is room for: the first of every word, the second, ...

    Only a sentence that is too long without any fact is cut. The first fact without room ends the list.
    """
    owners = trees.layout.sequence_ids(trees.ids.device)
    order = (owners * (MOST_FACTS + 1) + trees.branches).argsort(stable=True)
    fact = (owners * (LONGEST + 1) + trees.words.long()) * (MOST_FACTS + 1) + trees.branches
    # on the trunk every token stands or falls alone, a fact stands or falls with its last token
    alone = trees.branches[order] == 0
    last = torch.ones_like(alone)
    last[:-1] = fact[order][1:] != fact[order][:-1]
    ends = (last | alone).nonzero().squeeze(1)
    group = (last | alone).cumsum(0) - (last | alone).long()
    keep = torch.empty_like(alone)
    keep[order] = ends[group] - trees.layout.starts(owners.device)[owners[order]] < limit
    return keep


def no_facts(_word: str) -> tuple[str, ...]:
    """The knowledge of a model that has none."""
    return ()


def spelling_of(tokenizer: Tokenizer, language: str | None = None) -> Spelling:
    """How a tokenizer spells words, ``[CLS]`` and its like being the tokenizer's own special tokens."""
    if isinstance(tokenizer, SpellsMany):
        return tokenizer  # and knows its special tokens when it meets them
    special = tokenizer.specials
    ids = (special.pad, special.unknown, special.start, special.stop, special.mask)
    known = {name: (number,) for name, number in zip(BERT_SPECIALS, ids, strict=True)}

    def spelling(word: str) -> Sequence[int]:
        return known[word] if word in known else tokenizer.encode(word, language).ids

    return spelling


class TreeBuilder:
    """Hangs facts from the words of sentences.

    Args:
        spelling: the token ids of a word or a fact: :func:`spelling_of` a tokenizer; for the published K-BERT
            :class:`~mm_kptm.knowledge.injection.characters.Characters` themselves, which spell many at once.
        facts: of a word; only asked about words that come without their own (:class:`TokenWithFacts`).
        max_facts: how many facts a word may carry.
        max_length: how many tokens a sentence and its facts may have.
        fit: which tokens stay when there are more: :func:`spare_trunk`, or :func:`cut` as published.

    Words and facts may also be token ids (:data:`TokenIds`); these need no spelling, and ``facts`` is not asked about
    them. The answers of ``spelling`` and ``facts`` are remembered: they must not change.

    Raises:
        UserError: a limit is out of range.

    >>> pets = {"cat": ["is animal"], "fish": []}
    >>> code = {"the": [1], "cat": [2, 3], "eats": [4], "fish": [5], "is animal": [6, 7]}
    >>> trees = TreeBuilder(code.__getitem__, lambda word: pets.get(word, []))([["the", "cat", "eats", "fish"]])
    >>> trees.ids.tolist()
    [1, 2, 3, 6, 7, 4, 5]
    >>> trees.positions.tolist()
    [0, 1, 2, 3, 4, 3, 4]
    >>> trees.branches.tolist()
    [0, 0, 0, 1, 1, 0, 0]
    >>> TreeBuilder(code.__getitem__)([[1, TokenWithFacts((2, 3), ((6, 7),)), 4, 5]]).ids.tolist()
    [1, 2, 3, 6, 7, 4, 5]
    """

    def __init__(
        self,
        spelling: Spelling,
        facts: Facts = no_facts,
        *,
        max_facts: int = 2,
        max_length: int = 256,
        fit: Fit = spare_trunk,
    ) -> None:
        if not 0 <= max_facts <= MOST_FACTS:
            raise UserError(f"max_facts is {max_facts}, but a word carries between 0 and {MOST_FACTS} facts")
        if not 1 <= max_length <= LONGEST:
            raise UserError(f"max_length is {max_length}, but a sentence tree has between 1 and {LONGEST} tokens")
        self.max_length = max_length
        self.fit = fit
        self._written = _Written(spelling, facts, max_facts)

    def __call__(self, sentences: Sequence[Sequence[Word]]) -> Trees:
        """One tree per sentence; a sentence is its words, special tokens such as ``[CLS]`` among them."""
        trees = self._written.trees(sentences)
        if max(trees.layout.lengths, default=0) > self.max_length:
            trees = trees.kept(self.fit(trees, self.max_length))
        return trees


class _Written:
    """Words written out with their facts, end to end in arrays, and the number of each word."""

    def __init__(self, spelling: Spelling, facts: Facts, max_facts: int) -> None:
        self.spelling = spelling
        self.facts = facts
        self.max_facts = max_facts
        self.forget()

    def forget(self) -> None:
        # a word that was never met gets the next number by being asked for, which is the quickest way to meet many
        self.numbers: defaultdict[Word, int] = defaultdict(count().__next__)
        self.ids = array("i")
        self.steps = array("i")  # of tokens: from the first position of the word
        self.branches = array("b")  # of tokens: 0 or the number of the fact
        self.ends = array("q", [0])  # of words among tokens
        self.spans = array("i")  # how far a word moves the positions of the trunk on

    def _met(self, sentences: Sequence[Sequence[Word]], count: int) -> Integers:
        """The numbers of all words, those that are new written out."""
        known = len(self.numbers)
        try:
            met = np.fromiter(map(self.numbers.__getitem__, chain.from_iterable(sentences)), np.int64, count)
            if new := len(self.numbers) - known:
                self._write([*islice(reversed(self.numbers), new)][::-1])
        except BaseException:
            self.forget()  # words that have a number but are not written out
            raise
        return met

    def _write(self, words: list[Word]) -> None:
        """Write out new words, all at once, since a batch may bring thousands."""
        pieces, facts = self._pieces(words)
        ids, lengths = self._spelt(pieces)
        trunks = np.zeros(len(pieces), np.bool_)
        trunks[ends_of(facts + 1)[:-1]] = True
        spans = lengths[trunks]
        own = spans.repeat(facts + 1)  # tokens of the word that a piece belongs to
        # without a token there is nothing that a fact could hang from
        stays = trunks | ((own > 0) & (lengths > 0))
        if not stays.all():
            ids = ids[stays.repeat(lengths)]
            trunks, lengths, own = trunks[stays], lengths[stays], own[stays]
        ends, firsts = ends_of(lengths), np.flatnonzero(trunks)
        kinds = np.arange(len(trunks)) - firsts[trunks.cumsum() - 1]
        steps = np.arange(len(ids)) - (ends[:-1] - np.where(trunks, 0, own)).repeat(lengths)
        self.ids.frombytes(ids.astype(np.int32).tobytes())
        self.steps.frombytes(steps.astype(np.int32).tobytes())
        self.branches.frombytes(kinds.astype(np.int8).repeat(lengths).tobytes())
        self.spans.frombytes(spans.astype(np.int32).tobytes())
        self.ends.frombytes((self.ends[-1] + ends[np.append(firsts[1:], len(trunks))]).astype(np.int64).tobytes())

    def _pieces(self, words: list[Word]) -> tuple[list[str | TokenIds], Integers]:
        """Every word with its facts behind it, and how many these are."""
        texts: list[str | TokenIds]
        carried: list[Sequence[str | TokenIds] | None]
        if set(map(type, words)) == {str}:
            texts = cast("list[str | TokenIds]", words)
            carried = [*map(self.facts, cast("list[str]", words))]
        else:
            texts = [word.word if isinstance(word, TokenWithFacts) else word for word in words]
            carried = [*map(self._carried, words)]
        counts = np.zeros(len(words), np.int64)
        pieces: list[str | TokenIds] = []
        first = 0
        for place, facts in enumerate(carried):
            if facts:
                branches = facts[: self.max_facts]
                counts[place] = len(branches)
                pieces += texts[first : (first := place + 1)]
                pieces += branches
        return pieces + texts[first:], counts

    def _carried(self, word: Word) -> Sequence[str | TokenIds] | None:
        """The facts of a word: its own, those that are known of a text, or none of token ids."""
        if isinstance(word, TokenWithFacts):
            return word.facts
        return self.facts(word) if isinstance(word, str) else None

    def _spelt(self, texts: Sequence[str | TokenIds]) -> Spelt:
        if isinstance(self.spelling, SpellsMany) and set(map(type, texts)) <= {str}:
            return self.spelling.many(cast("Sequence[str]", texts))
        spelt = [*map(self._token_ids, texts)]
        lengths = np.fromiter(map(len, spelt), np.int64, len(spelt))
        return Spelt(np.fromiter(chain.from_iterable(spelt), np.int32, int(lengths.sum())), lengths)

    def _token_ids(self, text: str | TokenIds) -> Sequence[int]:
        if isinstance(text, str):
            return self.spelling(text)
        return text if isinstance(text, tuple) else (text,)

    def trees(self, sentences: Sequence[Sequence[Word]]) -> Trees:
        if len(self.numbers) > _MOST_WORDS:
            self.forget()
        counts = np.fromiter(map(len, sentences), np.int64, len(sentences))
        met = self._met(sentences, int(counts.sum()))
        bounds = ends_of(counts)  # of sentences among words
        ends = np.asarray(self.ends)
        sizes = ends[met + 1] - ends[met]
        starts = ends_of(sizes)  # of words among tokens
        rows = np.arange(starts[-1]) + np.repeat(ends[met] - starts[:-1], sizes)
        trunk = ends_of(np.asarray(self.spans).take(met))
        since = trunk[:-1] - np.repeat(trunk[bounds[:-1]], counts)
        numbers = np.arange(len(met)) - np.repeat(bounds[:-1], counts)
        return Trees(
            ids=torch.from_numpy(np.asarray(self.ids).take(rows)),
            # what overflows here stands behind the longest possible tree and is cut
            positions=torch.from_numpy((np.asarray(self.steps).take(rows) + np.repeat(since, sizes)).astype(np.int16)),
            words=torch.from_numpy(np.repeat(numbers.astype(np.int16), sizes)),
            branches=torch.from_numpy(np.asarray(self.branches).take(rows)),
            layout=SequenceLayout(tuple(np.diff(starts[bounds]).tolist())),
        )
