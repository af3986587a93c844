"""G4: K-BERT's inputs, from words and their facts to ids, positions and who sees whom.

The peer is the construction of the released code: loops over the tokens of one sentence a call, and a dense float64
matrix. The careful peer keeps its loops for the tree and makes the matrix at once, as bits. Both pad to 128 places.
Ours writes a word out once and keeps two small integers a token; who sees whom is computed from them where it is read.
All get the same words, vocabulary and facts, and a batch that they have not seen before, call by call; ours has read
other batches of the same language. "Ours cold" has read none: the first batch of a run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence, Sized
from functools import partial
from itertools import cycle

import torch

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers.sentence_trees import Inputs, by_loops, by_numbers
from benchmarks.sentences import PIECES, Lexicon, spelling
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder, Trees

SENTENCES, TOKENS, LENGTH, MAX_FACTS, WORDS, KNOWN = 256, 44, 128, 2, 20000, 0.12
READ, UNREAD = 60, 20  # batches that ours has read before, and more batches than calls
VERSIONS: dict[str, str] = {}

Sentences = Sequence[Sequence[str]]


def nbytes(trees: Trees) -> int:
    """What a batch of trees holds."""
    return sum(part.nbytes for part in (trees.ids, trees.positions, trees.words, trees.branches))


def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    draw = random.Random(seed)
    lexicon = Lexicon.draw(WORDS, KNOWN, draw)
    batches = [[lexicon.sentence(TOKENS, MAX_FACTS, draw) for _ in range(SENTENCES)] for _ in range(READ + UNREAD)]
    unread = batches[READ:]

    characters = Characters(PIECES)

    def builder() -> TreeBuilder:
        return TreeBuilder(characters, lexicon.facts.get, max_facts=MAX_FACTS, max_length=LENGTH)

    warm = builder()
    for batch in batches[:READ]:
        warm(batch)

    def theirs(construct: Callable[..., Inputs], sentences: Sentences) -> list[Inputs]:
        return [
            construct(words, spelling, lexicon.facts.get, max_facts=MAX_FACTS, length=LENGTH) for words in sentences
        ]

    def check() -> dict[str, float]:
        """Cells, ids and positions that differ, in a batch that is not timed: none may."""
        sentences = batches[0]
        expected, careful = theirs(by_loops, sentences), theirs(by_numbers, sentences)
        differences = {
            "cells of careful peer": sum(
                float((a.visible != b.visible).sum()) for a, b in zip(expected, careful, strict=True)
            ),
            "of ours": _differing(warm(sentences), expected),
            "of ours cold": _differing(builder()(sentences), expected),
            "bytes a sentence": nbytes(warm(sentences)) / SENTENCES,
        }
        limits = {"cells of careful peer": 0.0, "of ours": 0.0, "of ours cold": 0.0, "bytes a sentence": 512.0}
        return within(differences, limits, "g04")

    def call_by_call(make: Callable[[Sentences], Sized]) -> Callable[[], float]:
        """Another batch every time."""
        following = cycle(unread)
        return lambda: float(len(make(next(following))))

    return Case(
        name="g04",
        title="inputs of K-BERT, 256 sentences of 44 characters with their facts",
        unit="sentences",
        work=float(SENTENCES),
        variants={
            PEER: call_by_call(partial(theirs, by_loops)),
            "careful peer": call_by_call(partial(theirs, by_numbers)),
            OURS: call_by_call(warm),
            "ours cold": call_by_call(lambda sentences: builder()(sentences)),
        },
        check=check,
        sizes={"sentences": SENTENCES, "tokens": TOKENS, "length": LENGTH, "read": READ, "unread": UNREAD},
    )


def _differing(trees: Trees, expected: list[Inputs]) -> float:
    """Ids, positions and cells of the matrix that are not those of the peer."""
    mask, differing = trees.mask, 0
    assert mask is not None
    rows = torch.arange(trees.layout.total)
    parts = zip(*(trees.layout.split(part) for part in (rows, trees.ids, trees.positions)), expected, strict=True)
    for own, ids, positions, sentence in parts:
        n = sentence.length
        if len(own) != n:
            return float("nan")
        differing += int((ids != torch.tensor(sentence.ids[:n])).sum())
        differing += int((positions != torch.tensor(sentence.positions[:n])).sum())
        cells = torch.from_numpy(sentence.visible).bool()
        differing += int((mask.mask_mod(own[:, None], own[None, :]) != cells[:n, :n]).sum())
        differing += int(cells[n:].sum()) + int(cells[:, n:].sum())
    return float(differing)
