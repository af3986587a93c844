"""G6: LXMERT as visual question answering uses it: five questions about every image, and one vector of each.

The peer is the pooled output of ``LxmertModel`` on texts padded to the 20 places of the released code, every question
with its own copy of the image. The careful peer sorts the same questions into four batches by length. Ours holds every
image once until the streams meet, packs the words, and finishes the last layers only where the vector is read.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import LxmertConfig, LxmertModel

from benchmarks.encoders import Comparison, Encoder, Part, whole
from benchmarks.harness import OURS, PEER, Case
from benchmarks.peers import hf
from benchmarks.texts import Texts, skewed_lengths
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, SequenceLayout

SIZES: dict[str, Any] = {"dim": 256, "num_heads": 4, "num_layers": 9, "num_region_layers": 5, "num_cross_layers": 5}
VOCABULARY, FEATURES = 30522, 2048
IMAGES, QUESTIONS, REGIONS, LONGEST, SPREAD = 8, 5, 36, 20, 0.26
VERSIONS = hf.VERSION


def config() -> LxmertConfig:
    """LXMERT of these sizes without dropout."""
    return LxmertConfig(
        vocab_size=VOCABULARY,
        hidden_size=SIZES["dim"],
        num_attention_heads=SIZES["num_heads"],
        intermediate_size=4 * SIZES["dim"],
        l_layers=SIZES["num_layers"],
        r_layers=SIZES["num_region_layers"],
        x_layers=SIZES["num_cross_layers"],
        visual_feat_dim=FEATURES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    generator = torch.Generator().manual_seed(seed)
    count = IMAGES * QUESTIONS
    texts = Texts.draw(skewed_lengths(count, LONGEST, SPREAD), VOCABULARY, generator)
    features = torch.rand(IMAGES, REGIONS, FEATURES, generator=generator)
    corners = torch.rand(IMAGES, REGIONS, 4, generator=generator)
    image_of = torch.arange(count) % IMAGES  # of the sentences in the order of the reader
    theirs = hf.seeded(LxmertModel, config(), seed)
    order = torch.tensor(texts.by_length)

    def part(chosen: list[int]) -> Part:
        numbers = torch.tensor(chosen)
        ids, seen = texts.padded(chosen)
        given = {"input_ids": ids, "attention_mask": seen, "visual_feats": features[image_of[numbers]]}
        given["visual_pos"] = corners[image_of[numbers]]

        def run() -> Tensor:
            return theirs(**given).pooled_output

        return Part(run, torch.arange(len(chosen)), order.argsort()[numbers])

    ours = hf.ours_of(theirs, "lxmert", [], **SIZES, ffn_dim=4 * SIZES["dim"], dropout=0.0).train()
    coarse = copy.deepcopy(ours)
    inputs = Inputs(
        text=texts.tokens(),
        regions=Regions(features.flatten(0, 1), corners.flatten(0, 1), SequenceLayout((REGIONS,) * IMAGES)),
        image_of=image_of[order],
    )
    words = theirs.embeddings.word_embeddings
    return Comparison(
        name="g06",
        title="vectors of LXMERT, 9 + 5 + 5 layers of 256, 40 questions on 8 images",
        unit="questions",
        work=float(count),
        encoders={
            PEER: Encoder(theirs, words, [part(list(range(count)))]),
            "careful peer": Encoder(theirs, words, [part(bucket) for bucket in texts.buckets(4)]),
            OURS: whole(ours, ours.encoder.embed.text.word, lambda: ours(inputs, POOLED_ONLY).pooled, count),
            "ours bf16": whole(
                coarse, coarse.encoder.embed.text.word, lambda: coarse(inputs, POOLED_ONLY).pooled, count, bf16=True
            ),
        },
        sizes={**SIZES, "questions": count, "images": IMAGES, "regions": REGIONS, "rows": texts.rows},
    ).cases(seed)
