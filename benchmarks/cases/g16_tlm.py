"""G16: reading sentences beside their translations, forward and backward.

The peer is ``XLMModel``, which attends in the eager way alone, on the padded batch with positions that begin anew and a
language with every token. The careful peer sorts the same pairs into four batches by length. Ours packs the rows. The
loss weighs every state, so that all of both models is differentiated; no dropout.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import XLMConfig, XLMModel

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers import hf
from benchmarks.texts import skewed_lengths
from mm_kptm.batch import Inputs, Layout, Tokens, pad
from mm_kptm.crosslingual.bitext import Sentence, translations
from mm_kptm.data.tokenizer import Specials
from mm_kptm.tasks.inputs import tokens

SIZES = {"dim": 256, "num_heads": 4, "num_layers": 4, "vocab_size": 30522, "num_languages": 2}
PAIRS, LONGEST, SPREAD, FIRST_WORD = 32, 157, 0.504, 14
SPECIALS = Specials(pad=2, unknown=3, start=1, stop=1, mask=5)
VERSIONS = hf.VERSION


def pairs(generator: torch.Generator) -> Tokens:
    """Sentences and their translations as one ragged batch, in order of length as the sampler keeps them."""

    def sentence(length: int, language: int) -> Sentence:
        ids = torch.randint(FIRST_WORD, SIZES["vocab_size"], (length,), generator=generator)
        return Sentence(ids.tolist(), language)

    words = [length - 4 for length in sorted(skewed_lengths(PAIRS, LONGEST, SPREAD))]  # four ends of sentences
    packed = translations(((sentence(n // 2, 0), sentence(n - n // 2, 1)) for n in words), SPECIALS)
    return tokens(packed, np.arange(PAIRS))


def build(seed: int = 0) -> Case:
    """The case at its published sizes."""
    generator = torch.Generator().manual_seed(seed)
    text = pairs(generator)
    assert text.languages is not None
    order = torch.randperm(PAIRS, generator=generator).tolist()  # as a reader would find them
    weigh = torch.randn(text.rows, SIZES["dim"], generator=generator)
    config = XLMConfig(
        vocab_size=SIZES["vocab_size"],
        emb_dim=SIZES["dim"],
        n_layers=SIZES["num_layers"],
        n_heads=SIZES["num_heads"],
        n_langs=SIZES["num_languages"],
        dropout=0.0,
        attention_dropout=0.0,
    )
    theirs = hf.seeded(XLMModel, config, seed).train()
    system = hf.ours_of(theirs, "xlm", [], **SIZES, dropout=0.0).train()
    columns = [list(text.layout.split(column)) for column in (text.ids, text.positions, text.languages, weigh)]

    def batch(chosen: list[int]) -> dict[str, Tensor]:
        layout = Layout(tuple(text.layout.lengths[number] for number in chosen))
        ids, positions, languages, weights = (pad(torch.cat([column[n] for n in chosen]), layout) for column in columns)
        seen = pad(torch.ones(layout.total, dtype=torch.long), layout)
        return {
            "input_ids": ids,
            "position_ids": positions,
            "langs": languages,
            "attention_mask": seen,
            "weigh": weights,
        }

    whole = [batch(order)]
    sorted_ = [batch(list(range(start, start + PAIRS // 4))) for start in range(0, PAIRS, PAIRS // 4)]

    def peer(batches: list[dict[str, Tensor]]) -> Callable[[], Tensor]:
        def losses() -> Tensor:
            theirs.zero_grad(set_to_none=True)
            total = torch.zeros(())
            for given in batches:
                weights = given["weigh"]
                states = theirs(**{name: tensor for name, tensor in given.items() if name != "weigh"}).last_hidden_state
                loss = (states * weights).sum()
                loss.backward()
                total += loss.detach()
            return total

        return losses

    def ours() -> Tensor:
        system.zero_grad(set_to_none=True)
        loss = (system(Inputs(text=text)).tokens * weigh).sum()
        loss.backward()
        return loss.detach()

    variants = {PEER: peer(whole), "careful peer": peer(sorted_), OURS: ours}

    def check() -> dict[str, float]:
        truth = variants[PEER]()
        gradient = theirs.embeddings.weight.grad.clone()
        size, largest = float(weigh.norm()), gradient.abs().max()
        differences = {
            "loss": float((variants[OURS]() - truth).abs()) / size,
            "gradient": float((system.encoder.embed.text.word.weight.grad - gradient).abs().max() / largest),
            "loss of careful peer": float((variants["careful peer"]() - truth).abs()) / size,
        }
        return within(differences, {"loss": 1e-4, "gradient": 1e-4, "loss of careful peer": 1e-4}, "g16")

    def does_all(losses: Callable[[], Tensor]) -> Callable[[], float]:
        return lambda: float(text.rows) if bool(losses().isfinite()) else 0.0

    fill = text.rows / (PAIRS * max(text.layout.lengths))
    return Case(
        name="g16",
        title=f"sentences beside translations, forward and backward, 4 layers of 256, 32 pairs, fill {fill:.2f}",
        unit="real tokens",
        work=float(text.rows),
        variants={name: does_all(losses) for name, losses in variants.items()},
        check=check,
        sizes={**SIZES, "pairs": PAIRS, "rows": text.rows},
    )
