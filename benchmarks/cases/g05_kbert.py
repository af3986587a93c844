"""G5: K-BERT's encoder on sentence trees.

The peer is the encoder in the form of its released code: every sentence padded to 128 places, one dense matrix a
sentence, scores with -10000 added, GELU written out. The careful peer pads four batches of sentences that were sorted
by length to their own longest, and calls torch's GELU. Ours packs the tokens and makes the matrices of its batch from
two small integers a token.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.encoders import Comparison, Encoder, Part, whole
from benchmarks.harness import OURS, PEER, Case
from benchmarks.peers import hf, uer
from benchmarks.sentences import VOCABULARY, Lexicon, spelling
from benchmarks.texts import skewed_lengths
from mm_kptm.batch import EVERY_ROW, Inputs, OutputRows, pad
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder, Trees

SIZES: dict[str, Any] = {"dim": 256, "num_heads": 4, "num_layers": 4, "vocab_size": VOCABULARY}
SENTENCES, LENGTH, SPREAD, MAX_FACTS, WORDS, KNOWN = 32, 128, 0.47, 2, 2000, 0.12
VERSIONS: dict[str, str] = {}


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    lexicon = Lexicon.draw(WORDS, KNOWN, draw)
    lengths = skewed_lengths(SENTENCES, LENGTH, SPREAD)
    sentences = [lexicon.sentence(length, MAX_FACTS, draw) for length in lengths]
    trees = TreeBuilder(spelling, lexicon.facts.get, max_facts=MAX_FACTS, max_length=LENGTH)(sentences)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = uer.Encoder(**SIZES)
        careful = uer.Encoder(**SIZES, gelu=F.gelu)
    careful.load_state_dict(theirs.state_dict())
    ours = hf.ours_of(theirs, "kbert", [], **SIZES, ffn_dim=4 * SIZES["dim"], dropout=0.0).train()
    coarse = copy.deepcopy(ours)
    inputs = Inputs(text=trees.tokens(first_segment=1))
    output_rows = OutputRows({"text": EVERY_ROW}, pooled=False)
    rows = torch.arange(trees.layout.total)

    def part(model: uer.Encoder, chosen: Tensor, length: int | None) -> Part:
        given, places = padded(trees.take(chosen), length)
        return Part(lambda: model(*given), places, trees.layout.select(chosen)[1])

    shuffled = torch.randperm(SENTENCES, generator=generator)
    short_first = torch.arange(SENTENCES).chunk(4)
    return Comparison(
        name="g05",
        title="states of K-BERT, 4 layers of 256, 32 sentence trees, fill 0.41 of 128",
        unit="sentences",
        work=float(SENTENCES),
        encoders={
            PEER: Encoder(theirs, theirs.embedding.word_embedding, [part(theirs, shuffled, LENGTH)]),
            "careful peer": Encoder(
                careful, careful.embedding.word_embedding, [part(careful, chosen, None) for chosen in short_first]
            ),
            OURS: whole(ours, ours.encoder.embed.text.word, lambda: ours(inputs, output_rows).text, len(rows)),
            "ours bf16": whole(
                coarse, coarse.encoder.embed.text.word, lambda: coarse(inputs, output_rows).text, len(rows), bf16=True
            ),
        },
        sizes={**SIZES, "sentences": SENTENCES, "length": LENGTH, "rows": len(rows), "seen": seen(trees)},
    ).cases(seed)


def padded(trees: Trees, length: int | None) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Ids, positions, segments and matrices in their form, and where the real tokens stand among the places."""
    layout = trees.layout
    max_length = max(layout.lengths) if length is None else length
    ids = pad(trees.ids.long(), layout, length=max_length)
    real = pad(torch.ones(layout.total, dtype=torch.bool), layout, length=max_length)
    positions = pad(trees.positions.long(), layout, value=max_length - 1, length=max_length)
    visible = torch.zeros(len(layout), max_length, max_length)
    for matrix, own in zip(visible, _matrices(trees), strict=True):
        matrix[: len(own), : len(own)] = own
    return (ids, positions, real.long(), visible), real.flatten().nonzero().squeeze(1)


def seen(trees: Trees) -> float:
    """Which share of all cells of the padded matrices is seen."""
    return round(sum(float(own.sum()) for own in _matrices(trees)) / (len(trees) * LENGTH**2), 3)


def _matrices(trees: Trees) -> list[Tensor]:
    mask = trees.mask
    assert mask is not None
    return [mask.mask_mod(own[:, None], own[None, :]) for own in trees.layout.split(torch.arange(trees.layout.total))]
