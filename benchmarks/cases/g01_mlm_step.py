"""G1: one step of masked-language-model training on sentences of skewed length.

The peer is ``BertForMaskedLM`` with SDPA on the padded batch, as its documentation trains it: labels of -100 where
nothing was hidden. The careful peer sorts the same sentences into four batches by length, adds up their gradients and
fuses AdamW. All variants make the same step on the same sentences and the same hidden tokens. No dropout, so that the
losses can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import BertForMaskedLM, BertForPreTraining

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers import hf
from benchmarks.texts import CLS, FIRST_WORD, MASK, SEP, Texts, skewed_lengths
from mm_kptm.batch import Inputs
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import ExactCount, MaskedTokens, Masking

SIZES = {"dim": 256, "num_heads": 4, "num_layers": 4, "vocab_size": 30522}
SENTENCES, LONGEST, SPREAD, RATE, LR = 32, 157, 0.555, 0.15, 1e-4
VERSIONS = hf.VERSION
MASKING = Masking(MASK, (FIRST_WORD, SIZES["vocab_size"]), frozenset({CLS, SEP}), ExactCount(RATE))


class Ours:
    """Our step: no padding, vocabulary scores and last layer only where a token is hidden, fused AdamW."""

    def __init__(self, model: BertForPreTraining, batch: RowTargets, *, bf16: bool = False) -> None:
        self.system = hf.ours_of(model, "bert", ["masked-tokens"], **SIZES, ffn_dim=4 * SIZES["dim"], dropout=0.0)
        self.system.train()
        self.objective = MaskedTokens(MASKING)
        self.batch = batch
        self.optimizer = torch.optim.AdamW(self.system.parameters(), lr=LR, fused=True)
        self.bf16 = bf16

    def step(self) -> Tensor:
        """Loss before the step."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            loss = self.objective.loss(self.system, self.batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def word_gradient(self) -> Tensor:
        return _gradient(self.system.encoder.embed.text.word)


class Peer:
    """Their step, on one padded batch or on several that were sorted by length."""

    def __init__(self, model: BertForMaskedLM, batches: list[dict[str, Tensor]], *, fused: bool = False) -> None:
        self.model = model.train()
        self.batches = batches
        self.hidden = sum(int((batch["labels"] >= 0).sum()) for batch in batches)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR, fused=True if fused else None)

    def step(self) -> Tensor:
        """Loss before the step: the mean over all hidden tokens."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for batch in self.batches:
            share = int((batch["labels"] >= 0).sum()) / self.hidden
            loss = self.model(**batch).loss * share
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        return total

    def word_gradient(self) -> Tensor:
        return _gradient(self.model.bert.embeddings.word_embeddings)


def _gradient(table: Any) -> Tensor:
    return table.weight.grad.clone()


def padded_batches(texts: Texts, batch: RowTargets, buckets: list[list[int]]) -> list[dict[str, Tensor]]:
    """The puzzle in their form: corrupted ids, attention mask, and labels of -100 where nothing is hidden."""
    assert batch.inputs.text is not None
    corrupted = list(batch.inputs.text.layout.split(batch.inputs.text.ids))
    answers = torch.full_like(batch.inputs.text.ids, -100)
    answers[batch.rows] = batch.labels
    labels = list(batch.inputs.text.layout.split(answers))
    place = {sentence: number for number, sentence in enumerate(texts.by_length)}
    batches = []
    for bucket in buckets:
        ids, seen = texts.padded(bucket)
        padded_labels = torch.full_like(ids, -100)
        for row, sentence in enumerate(bucket):
            length = len(texts.sentences[sentence])
            ids[row, :length] = corrupted[place[sentence]]
            padded_labels[row, :length] = labels[place[sentence]]
        batches.append({"input_ids": ids, "attention_mask": seen, "labels": padded_labels})
    return batches


def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    generator = torch.Generator().manual_seed(seed)
    lengths = skewed_lengths(SENTENCES, LONGEST, SPREAD)
    texts = Texts.draw(lengths, SIZES["vocab_size"], generator)
    batch = MaskedTokens(MASKING).prepare(Inputs(text=texts.tokens()), generator)
    config = hf.bert_config(**SIZES)
    weights = hf.seeded(BertForPreTraining, config, seed)

    whole = padded_batches(texts, batch, [list(range(SENTENCES))])
    sorted_ = padded_batches(texts, batch, texts.buckets(4))
    steppers: dict[str, Peer | Ours] = {
        PEER: Peer(hf.part_of(weights, BertForMaskedLM, config), whole),
        "careful peer": Peer(hf.part_of(weights, BertForMaskedLM, config), sorted_, fused=True),
        OURS: Ours(weights, batch),
        "ours bf16": Ours(weights, batch, bf16=True),
    }

    def check() -> dict[str, float]:
        theirs, careful, ours, coarse = steppers.values()
        differences = {"loss": 0.0, "loss of careful peer": 0.0, "loss in bf16": 0.0, "gradient": 0.0}
        for step in range(2):
            loss = theirs.step()
            differences["loss"] = max(differences["loss"], float((ours.step() - loss).abs()))
            differences["loss of careful peer"] = max(
                differences["loss of careful peer"], float((careful.step() - loss).abs())
            )
            differences["loss in bf16"] = max(differences["loss in bf16"], float((coarse.step() - loss).abs()))
            if step == 0:
                gradient = theirs.word_gradient()
                differences["gradient"] = float((ours.word_gradient() - gradient).abs().max() / gradient.abs().max())
        limits = {"loss": 1e-5, "loss of careful peer": 1e-5, "loss in bf16": 0.03, "gradient": 1e-4}
        return within(differences, limits, "g01")

    def does_all(stepper: Peer | Ours) -> Callable[[], float]:
        def run() -> float:
            return float(texts.rows) if bool(stepper.step().isfinite()) else 0.0

        return run

    return Case(
        name="g01",
        title="masked-language-model step, 4 layers of 256, 32 sentences, fill 0.35",
        unit="real tokens",
        work=float(texts.rows),
        variants={name: does_all(stepper) for name, stepper in steppers.items()},
        check=check,
        sizes={**SIZES, "sentences": SENTENCES, "rows": texts.rows, "hidden": len(batch.rows)},
    )
