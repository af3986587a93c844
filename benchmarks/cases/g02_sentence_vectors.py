"""G2: one vector per sentence, from sentences of skewed length.

The peer is the pooled output of ``BertModel`` with SDPA on the padded batch. The careful peer sorts the same sentences
into four batches by length. Ours packs the rows and finishes the last layer only at the first token; in bfloat16
its weights are converted once, the peer's by autocast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import BertModel

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers import hf
from benchmarks.texts import Texts, skewed_lengths
from mm_kptm.batch import POOLED_ONLY, Inputs
from mm_kptm.systems.system import System

SIZES = {"dim": 256, "num_heads": 4, "num_layers": 4, "vocab_size": 30522}
SENTENCES, LONGEST, SPREAD = 32, 157, 0.555
VERSIONS = hf.VERSION


@torch.no_grad()
def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    generator = torch.Generator().manual_seed(seed)
    texts = Texts.draw(skewed_lengths(SENTENCES, LONGEST, SPREAD), SIZES["vocab_size"], generator)
    theirs = hf.seeded(BertModel, hf.bert_config(**SIZES), seed).eval()
    system = hf.ours_of(theirs, "bert", [], **SIZES, ffn_dim=4 * SIZES["dim"], dropout=0.0)
    inputs = Inputs(text=texts.tokens())
    whole = [texts.padded()]
    sorted_ = [texts.padded(bucket) for bucket in texts.buckets(4)]

    def peer(batches: list[tuple[Tensor, Tensor]]) -> Callable[[], Tensor]:
        def vectors() -> Tensor:
            return torch.cat([theirs(input_ids=ids, attention_mask=seen).pooler_output for ids, seen in batches])

        return vectors

    def vectors_of(model: System) -> Callable[[], Tensor]:
        return lambda: model(inputs, POOLED_ONLY).pooled.float()

    def peer_in_bf16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return peer(whole)().float()

    vectors = {
        PEER: peer(whole),
        "careful peer": peer(sorted_),
        "peer bf16": peer_in_bf16,
        OURS: vectors_of(system),
        "ours bf16": vectors_of(copy.deepcopy(system).to(torch.bfloat16)),
    }

    @torch.no_grad()
    def check() -> dict[str, float]:
        truth = vectors[PEER]()[texts.by_length]
        differences = {
            "vectors": float((vectors[OURS]() - truth).abs().max()),
            "vectors of careful peer": float((vectors["careful peer"]() - truth).abs().max()),
            "angle in bf16": float(1 - torch.cosine_similarity(vectors["ours bf16"](), truth).min()),
        }
        return within(differences, {"vectors": 1e-5, "vectors of careful peer": 1e-5, "angle in bf16": 1e-3}, "g02")

    def counted(work: Callable[[], Tensor]) -> Callable[[], float]:
        @torch.no_grad()
        def run() -> float:
            return float(len(work()))

        return run

    return Case(
        name="g02",
        title="sentence vectors, 4 layers of 256, 32 sentences, fill 0.35",
        unit="sentences",
        work=float(SENTENCES),
        variants={name: counted(work) for name, work in vectors.items()},
        check=check,
        sizes={**SIZES, "sentences": SENTENCES, "rows": texts.rows},
    )
