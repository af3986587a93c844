"""G7: VisualBERT on pairs of a text and an image of its own, and one vector of each pair.

The peer is the pooled output of ``VisualBertModel`` on texts padded to the longest, 20 tokens, with 36 regions each.
The careful peer sorts the same pairs into four batches by length. Ours packs the words, puts the regions behind them,
and finishes the last layer only where the vector is read.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import VisualBertConfig, VisualBertModel

from benchmarks.encoders import Comparison, Encoder, Part, whole
from benchmarks.harness import OURS, PEER, Case
from benchmarks.peers import hf
from benchmarks.texts import Texts, skewed_lengths
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, SequenceLayout

SIZES: dict[str, Any] = {"dim": 256, "num_heads": 4, "num_layers": 12}
VOCABULARY, FEATURES = 30522, 2048
PAIRS, REGIONS, LONGEST, SPREAD = 32, 36, 20, 0.26
VERSIONS = hf.VERSION


def config() -> VisualBertConfig:
    """VisualBERT of these sizes without dropout."""
    return VisualBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=SIZES["dim"],
        num_attention_heads=SIZES["num_heads"],
        num_hidden_layers=SIZES["num_layers"],
        intermediate_size=4 * SIZES["dim"],
        visual_embedding_dim=FEATURES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    generator = torch.Generator().manual_seed(seed)
    texts = Texts.draw(skewed_lengths(PAIRS, LONGEST, SPREAD), VOCABULARY, generator)
    features = torch.rand(PAIRS, REGIONS, FEATURES, generator=generator)  # in the order of the reader
    theirs = hf.seeded(VisualBertModel, config(), seed)
    order = torch.tensor(texts.by_length)

    def part(chosen: list[int]) -> Part:
        numbers = torch.tensor(chosen)
        ids, seen = texts.padded(chosen)
        given = {"input_ids": ids, "attention_mask": seen, "visual_embeds": features[numbers]}
        kinds = torch.zeros(len(chosen), REGIONS, dtype=torch.long)

        def run() -> Tensor:
            return theirs(**given, visual_token_type_ids=kinds).pooler_output

        return Part(run, torch.arange(len(chosen)), order.argsort()[numbers])

    ours = hf.ours_of(theirs, "visualbert", [], **SIZES, ffn_dim=4 * SIZES["dim"], dropout=0.0).train()
    coarse = copy.deepcopy(ours)
    inputs = Inputs(
        text=texts.tokens(),
        regions=Regions(
            features[order].flatten(0, 1), torch.zeros(PAIRS * REGIONS, 4), SequenceLayout((REGIONS,) * PAIRS)
        ),
    )
    words = theirs.embeddings.word_embeddings
    return Comparison(
        name="g07",
        title="vectors of VisualBERT, 12 layers of 256, 32 texts with an image each",
        unit="pairs",
        work=float(PAIRS),
        encoders={
            PEER: Encoder(theirs, words, [part(list(range(PAIRS)))]),
            "careful peer": Encoder(theirs, words, [part(bucket) for bucket in texts.buckets(4)]),
            OURS: whole(ours, ours.encoder.embed.text.word, lambda: ours(inputs, POOLED_ONLY).pooled, PAIRS),
            "ours bf16": whole(
                coarse, coarse.encoder.embed.text.word, lambda: coarse(inputs, POOLED_ONLY).pooled, PAIRS, bf16=True
            ),
        },
        sizes={**SIZES, "pairs": PAIRS, "regions": REGIONS, "rows": texts.rows},
    ).cases(seed)
