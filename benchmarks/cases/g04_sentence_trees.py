"""G4: K-BERT's inputs, from words and their facts to ids, positions and who sees whom.

The peer is the construction of the released code: loops over the tokens of one sentence a call, and a dense float64
matrix. The careful peer keeps its loops for the tree and makes the matrix at once, as bits. Both pad to 128 places. Ours
writes a word out once and keeps two small integers a token; who sees whom is computed from them where it is read. All
get the same words, spellings and facts. "Ours cold" has seen no word before, as in the first batch of a run.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers.sentence_trees import Inputs, by_loops, by_numbers
from benchmarks.sentences import Lexicon, spelling
from mm_kptm.knowledge.tree import TreeBuilder, Trees

SENTENCES, TOKENS, LENGTH, MAX_FACTS, WORDS, KNOWN = 256, 44, 128, 2, 20000, 0.12
VERSIONS: dict[str, str] = {}


def nbytes(trees: Trees) -> int:
    """What a batch of trees holds."""
    return sum(part.nbytes for part in (trees.ids, trees.positions, trees.words, trees.branches))


def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    generator = torch.Generator().manual_seed(seed)
    lexicon = Lexicon.draw(WORDS, KNOWN, generator)
    sentences = [lexicon.sentence(TOKENS, MAX_FACTS, generator) for _ in range(SENTENCES)]
    warm = TreeBuilder(spelling, lexicon.about, max_facts=MAX_FACTS, max_length=LENGTH)

    def theirs(construct: Callable[..., Inputs]) -> list[Inputs]:
        return [construct(words, spelling, lexicon.about, max_facts=MAX_FACTS, length=LENGTH) for words in sentences]

    def cold() -> Trees:
        return TreeBuilder(spelling, lexicon.about, max_facts=MAX_FACTS, max_length=LENGTH)(sentences)

    def check() -> dict[str, float]:
        """Cells, ids and positions that differ: none may."""
        expected, careful = theirs(by_loops), theirs(by_numbers)
        differences = {
            "cells of careful peer": sum(
                float((a.visible != b.visible).sum()) for a, b in zip(expected, careful, strict=True)
            ),
            "of ours": _differing(warm(sentences), expected),
            "of ours cold": _differing(cold(), expected),
            "bytes a sentence": nbytes(warm(sentences)) / SENTENCES,
        }
        limits = {"cells of careful peer": 0.0, "of ours": 0.0, "of ours cold": 0.0, "bytes a sentence": 512.0}
        return within(differences, limits, "g04")

    return Case(
        name="g04",
        title="inputs of K-BERT, 256 sentences of 44 characters with their facts",
        unit="sentences",
        work=float(SENTENCES),
        variants={
            PEER: lambda: float(len(theirs(by_loops))),
            "careful peer": lambda: float(len(theirs(by_numbers))),
            OURS: lambda: float(len(warm(sentences))),
            "ours cold": lambda: float(len(cold())),
        },
        check=check,
        sizes={"sentences": SENTENCES, "tokens": TOKENS, "length": LENGTH, "words": sum(map(len, sentences))},
    )


def _differing(trees: Trees, expected: list[Inputs]) -> float:
    """Ids, positions and cells of the matrix that are not those of the peer."""
    sees, differing = trees.sees, 0
    assert sees is not None
    rows = torch.arange(trees.layout.total)
    parts = zip(*(trees.layout.split(part) for part in (rows, trees.ids, trees.positions)), expected, strict=True)
    for own, ids, positions, sentence in parts:
        n = sentence.length
        if len(own) != n:
            return float("nan")
        differing += int((ids != torch.tensor(sentence.ids[:n])).sum())
        differing += int((positions != torch.tensor(sentence.positions[:n])).sum())
        cells = torch.from_numpy(sentence.visible).bool()
        differing += int((sees.sees(own[:, None], own[None, :]) != cells[:n, :n]).sum())
        differing += int(cells[n:].sum()) + int(cells[:, n:].sum())
    return float(differing)
