"""G17: a training step of MLM on sentences and TLM on pairs of translations, as a mixture trains.

The peer is a plain loop over ``XLMWithLMHeadModel``: the two padded batches one after the other, their losses added up.
The careful peer sorts each of the two into four batches by length and fuses AdamW. Ours is ``Mixture`` on the packed
tokens. All see the same real tokens, hidden at the same places; nothing is dropped out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import XLMWithLMHeadModel

from benchmarks.cases.g16_tlm import (
    FIRST_WORD,
    MASKING,
    SIZES,
    SPECIALS,
    SPREAD,
    Stepper,
    config,
    drawn,
    losses_apart,
    padded,
)
from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers import hf
from benchmarks.texts import skewed_lengths
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, monolingual
from mm_kptm.crosslingual.objectives.translation_language_modeling import TranslationLanguageModeling
from mm_kptm.objectives.mixture import Mixture, MixtureBatch
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens

SENTENCES, LONGEST = 64, 79
VERSIONS = hf.VERSION


def sentences(generator: torch.Generator) -> Tokens:
    """Sentences of random words, each in one of the languages, in order of length as the sampler keeps them."""
    said = []
    for length in skewed_lengths(SENTENCES, LONGEST, SPREAD):
        ids = torch.randint(FIRST_WORD, SIZES["vocab_size"], (length - 2,), generator=generator).tolist()
        said.append(EncodedSentence(ids, int(torch.randint(SIZES["num_languages"], (), generator=generator))))
    packed = monolingual(said, SPECIALS)
    ids, positions, languages = (torch.from_numpy(packed.columns[name]) for name in ("ids", "positions", "languages"))
    return Tokens(ids, SequenceLayout(tuple(packed.lengths.tolist())), positions, torch.zeros_like(ids), languages)


def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    generator = torch.Generator().manual_seed(seed)
    objectives = {
        MaskedTokens.name: MaskedTokens(MASKING),
        TranslationLanguageModeling.name: TranslationLanguageModeling(MASKING),
    }
    texts = {MaskedTokens.name: sentences(generator), TranslationLanguageModeling.name: drawn(generator)}
    batches = {name: objectives[name].prepare(Inputs(text=tokens), generator) for name, tokens in texts.items()}
    shuffled = {name: torch.randperm(len(tokens.layout), generator=generator) for name, tokens in texts.items()}
    theirs = hf.seeded(XLMWithLMHeadModel, config(), seed)
    rows = sum(tokens.rows for tokens in texts.values())

    def peer(parts: int, *, fused: bool) -> Stepper:
        model = copy.deepcopy(theirs).train()
        losses = []
        for name, batch in batches.items():
            order = shuffled[name] if parts == 1 else torch.arange(len(batch))
            losses += [_loss_of(model, batch, chosen) for chosen in order.chunk(parts)]
        return Stepper(model, losses, fused=fused)

    def ours(*, bf16: bool) -> Stepper:
        system = hf.ours_of(theirs, "xlm", ["masked-tokens"], **SIZES, dropout=0.0).train()
        mixture = Mixture(system, objectives, dict.fromkeys(objectives, 1.0))
        batch = MixtureBatch(batches, SENTENCES)

        def loss() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return mixture.loss(batch)

        return Stepper(system, [loss], fused=True)

    steppers = {
        PEER: peer(1, fused=False),
        "careful peer": peer(4, fused=True),
        OURS: ours(bf16=False),
        "ours bf16": ours(bf16=True),
    }

    def check() -> dict[str, float]:
        differences = losses_apart(steppers)
        return within(differences, {name: 0.06 if "bf16" in name else 4e-5 for name in differences}, "g17")

    def does_all(stepper: Stepper) -> Callable[[], float]:
        return lambda: float(rows) if bool(stepper.step().isfinite()) else 0.0

    places = sum(len(tokens.layout) * max(tokens.layout.lengths) for tokens in texts.values())
    return Case(
        name="g17",
        title=f"step of MLM and TLM, 4 layers of 256, {SENTENCES} sentences and 32 pairs, fill {rows / places:.2f}",
        unit="real tokens",
        work=float(rows),
        variants={name: does_all(stepper) for name, stepper in steppers.items()},
        check=check,
        sizes={**SIZES, "sentences": SENTENCES, "pairs": len(batches[TranslationLanguageModeling.name]), "rows": rows},
    )


def _loss_of(model: nn.Module, batch: RowTargets, chosen: Tensor) -> Callable[[], Tensor]:
    """The share of some texts in the mean loss of a batch."""
    tokens = batch.inputs.text
    assert tokens is not None
    labels = torch.full_like(tokens.ids, -100)
    labels[batch.rows] = batch.labels
    given, _, _ = padded(tokens, chosen, labels)
    share = float((given["labels"] >= 0).sum()) / len(batch.rows)
    return lambda: model(**given).loss * share
