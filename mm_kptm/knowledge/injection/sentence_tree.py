"""Sentence trees: facts as branches of the words of a sentence (Liu et al. 2020, K-BERT, sections 3.2-3.4).

The tokens of a word and its facts do not depend on the sentence, so they are computed once; a batch is then a few
gathers. The visible matrix is stored as two small integers per token.

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

Spelling = Callable[[str], Sequence[int]]  #: token ids of a word or of a fact
TokenIds = int | tuple[int, ...]  #: a word or a fact as token ids
Facts = Callable[[str], Sequence[str] | None]  #: facts of a word, the most important first; ``get`` of a dict will do
Fit = Callable[["Trees", int], Tensor]  #: which tokens to keep when a tree has a maximum length, true where kept, [T]

LONGEST = 32767  #: positions and word indices are 16-bit integers
MOST_FACTS = 127  #: branch indices are 8-bit integers
_MOST_WORDS = 1 << 18  # maximum number of words in the cache between two calls


class Spelt(NamedTuple):
    """Token ids of many texts, concatenated."""

    ids: Integers  #: [T]
    lengths: Integers  #: number of tokens of each text


@runtime_checkable
class SpellsMany(Protocol):
    """Tokenization that is faster for many texts at once."""

    def __call__(self, text: str, /) -> Sequence[int]:
        """Token ids of a text."""

    def many(self, texts: Sequence[str]) -> Spelt:
        """Token ids of many texts."""


class TokenWithFacts(NamedTuple):
    """Word with its own facts instead of those of the graph, each as text or as token ids."""

    word: str | TokenIds
    facts: tuple[str | TokenIds, ...]


Word = str | TokenIds | TokenWithFacts  #: word of a sentence: text, token ids, or with its own facts


@dataclass(frozen=True, eq=False)
class Trees(Movable):
    """Flattened sentence trees: every word is followed by its facts. Nine bytes per token."""

    ids: Tensor  #: int32, [T]
    positions: Tensor  #: soft positions: each fact continues from its word as if it were the only one; int16, [T]
    words: Tensor  #: index of the token's word, or of the word its fact belongs to, in the sentence; int16, [T]
    branches: Tensor  #: 0 on the trunk, otherwise the index of the fact from 1, int8, [T]
    layout: SequenceLayout

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.layout)

    @property
    def mask(self) -> Branches | None:
        """Visible matrix (Liu et al. 2020, eq. 3); None without facts."""
        return Branches(self.words, self.branches) if bool(self.branches.any()) else None

    def tokens(self, *, separator: int | None = None, first_segment: int = 0) -> Tokens:
        """Tokens for an encoder.

        Segments start at ``first_segment`` and increase after every ``separator`` token; a fact has the segment of its
        position.
        """
        return Tokens(
            ids=self.ids.long(),
            layout=self.layout,
            positions=self.positions.long(),
            segments=self._segments(separator) + first_segment,
            attention_mask=self.mask,
        )

    def labels(self, labels: Sequence[Sequence[int]], *, on_facts: int) -> Tensor:
        """Labels of all tokens, [T], from the labels of each sentence's trunk tokens; facts get ``on_facts``.

        Labels of truncated trunk tokens are ignored.

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
        """Select sentences, in that order."""
        layout, rows = self.layout.select(sentences)
        return Trees(self.ids[rows], self.positions[rows], self.words[rows], self.branches[rows], layout)

    def kept(self, keep: Tensor) -> Trees:
        """Drop the tokens that are false in ``keep``, [T]; positions and word indices stay."""
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
    """Keep the first tokens of each flattened tree, as in the released code: facts push the end of the sentence out."""
    return trees.layout.offsets_in_sequence(trees.ids.device) < limit


def spare_trunk(trees: Trees, limit: int) -> Tensor:
    """Keep the trunk, then as many whole facts as fit: the first fact of every word, then the second, and so on.

    Only a trunk that is too long by itself is truncated. The first fact that does not fit ends the list.
    """
    sequence_ids = trees.layout.sequence_ids(trees.ids.device)
    order = (sequence_ids * (MOST_FACTS + 1) + trees.branches).argsort(stable=True)
    fact = (sequence_ids * (LONGEST + 1) + trees.words.long()) * (MOST_FACTS + 1) + trees.branches
    # trunk tokens are kept or dropped one by one, a fact as a whole, by its last token
    on_trunk = trees.branches[order] == 0
    last = torch.ones_like(on_trunk)
    last[:-1] = fact[order][1:] != fact[order][:-1]
    ends = (last | on_trunk).nonzero().squeeze(1)
    group = (last | on_trunk).cumsum(0) - (last | on_trunk).long()
    keep = torch.empty_like(on_trunk)
    keep[order] = ends[group] - trees.layout.starts(sequence_ids.device)[sequence_ids[order]] < limit
    return keep


def no_facts(_word: str) -> tuple[str, ...]:
    """No facts for any word."""
    return ()


def spelling_of(tokenizer: Tokenizer, language: str | None = None) -> Spelling:
    """Tokenization function of a tokenizer; ``[CLS]`` and the like are its special tokens."""
    if isinstance(tokenizer, SpellsMany):
        return tokenizer  # it handles special tokens itself
    special = tokenizer.specials
    ids = (special.pad, special.unknown, special.start, special.stop, special.mask)
    known = {name: (number,) for name, number in zip(BERT_SPECIALS, ids, strict=True)}

    def spelling(word: str) -> Sequence[int]:
        return known[word] if word in known else tokenizer.encode(word, language).ids

    return spelling


class TreeBuilder:
    """Builds sentence trees: attaches facts to the words of sentences.

    Args:
        spelling: token ids of a word or a fact: :func:`spelling_of` a tokenizer; for the published K-BERT
            :class:`~mm_kptm.knowledge.injection.characters.Characters`, which tokenizes many texts at once.
        facts: facts of a word; not called for words with their own (:class:`TokenWithFacts`).
        max_facts: maximum number of facts per word.
        max_length: maximum number of tokens of a sentence and its facts.
        fit: truncation rule: :func:`spare_trunk`, or :func:`cut` as published.

    Words and facts may also be token ids (:data:`TokenIds`), for which ``spelling`` and ``facts`` are not called. The
    results of ``spelling`` and ``facts`` are cached: they must be deterministic.

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
        """Build one tree per sentence, a list of words that includes special tokens such as ``[CLS]``."""
        trees = self._written.trees(sentences)
        if max(trees.layout.lengths, default=0) > self.max_length:
            trees = trees.kept(self.fit(trees, self.max_length))
        return trees


class _Written:
    """Cache of tokenized words with their facts, concatenated in arrays."""

    def __init__(self, spelling: Spelling, facts: Facts, max_facts: int) -> None:
        self.spelling = spelling
        self.facts = facts
        self.max_facts = max_facts
        self.forget()

    def forget(self) -> None:
        # a defaultdict assigns the next number to a new word on look-up, which is the fastest way to number many
        self.numbers: defaultdict[Word, int] = defaultdict(count().__next__)
        self.ids = array("i")
        self.steps = array("i")  # of tokens: offset from the first position of the word
        self.branches = array("b")  # of tokens: 0 or the index of the fact
        self.ends = array("q", [0])  # of words among tokens
        self.spans = array("i")  # of words: trunk positions they take

    def _met(self, sentences: Sequence[Sequence[Word]], count: int) -> Integers:
        """Numbers of all words; new words are added to the cache."""
        known = len(self.numbers)
        try:
            numbers = np.fromiter(map(self.numbers.__getitem__, chain.from_iterable(sentences)), np.int64, count)
            if new := len(self.numbers) - known:
                self._write([*islice(reversed(self.numbers), new)][::-1])
        except BaseException:
            self.forget()  # it has words with a number but without tokens
            raise
        return numbers

    def _write(self, words: list[Word]) -> None:
        """Add new words to the cache, all at once, since a batch may bring thousands."""
        pieces, facts = self._pieces(words)
        ids, lengths = self._spelt(pieces)
        trunks = np.zeros(len(pieces), np.bool_)
        trunks[ends_of(facts + 1)[:-1]] = True
        spans = lengths[trunks]
        own = spans.repeat(facts + 1)  # trunk length of the word of each piece
        # a word without tokens cannot carry facts
        kept = trunks | ((own > 0) & (lengths > 0))
        if not kept.all():
            ids = ids[kept.repeat(lengths)]
            trunks, lengths, own = trunks[kept], lengths[kept], own[kept]
        ends, firsts = ends_of(lengths), np.flatnonzero(trunks)
        kinds = np.arange(len(trunks)) - firsts[trunks.cumsum() - 1]
        steps = np.arange(len(ids)) - (ends[:-1] - np.where(trunks, 0, own)).repeat(lengths)
        self.ids.frombytes(ids.astype(np.int32).tobytes())
        self.steps.frombytes(steps.astype(np.int32).tobytes())
        self.branches.frombytes(kinds.astype(np.int8).repeat(lengths).tobytes())
        self.spans.frombytes(spans.astype(np.int32).tobytes())
        self.ends.frombytes((self.ends[-1] + ends[np.append(firsts[1:], len(trunks))]).astype(np.int64).tobytes())

    def _pieces(self, words: list[Word]) -> tuple[list[str | TokenIds], Integers]:
        """Words and their facts interleaved, and the number of facts of each word."""
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
        """Facts of a word: its own, those of a text, or none for token ids."""
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
        word_numbers = self._met(sentences, int(counts.sum()))
        bounds = ends_of(counts)  # of sentences among words
        ends = np.asarray(self.ends)
        sizes = ends[word_numbers + 1] - ends[word_numbers]
        starts = ends_of(sizes)  # of words among tokens
        rows = np.arange(starts[-1]) + np.repeat(ends[word_numbers] - starts[:-1], sizes)
        trunk = ends_of(np.asarray(self.spans).take(word_numbers))
        since = trunk[:-1] - np.repeat(trunk[bounds[:-1]], counts)
        numbers = np.arange(len(word_numbers)) - np.repeat(bounds[:-1], counts)
        return Trees(
            ids=torch.from_numpy(np.asarray(self.ids).take(rows)),
            # an overflow here is beyond the longest possible tree and is truncated
            positions=torch.from_numpy((np.asarray(self.steps).take(rows) + np.repeat(since, sizes)).astype(np.int16)),
            words=torch.from_numpy(np.repeat(numbers.astype(np.int16), sizes)),
            branches=torch.from_numpy(np.asarray(self.branches).take(rows)),
            layout=SequenceLayout(tuple(np.diff(starts[bounds]).tolist())),
        )
