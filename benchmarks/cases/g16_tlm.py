"""G16: XLM on sentences beside their translations, and a step of translation language modelling.

The peers are ``XLMModel`` and ``XLMWithLMHeadModel``, which attend eagerly, on the padded batch: a language with every
token, positions that begin anew at the translation, labels of -100 where nothing was hidden. The careful peer sorts the
same pairs into four batches by length, adds up their gradients and fuses AdamW. Ours packs the tokens; in the step it
scores the vocabulary and finishes the last layer only where a token is hidden. No dropout, so that results can be
compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import XLMConfig, XLMModel, XLMWithLMHeadModel

from benchmarks.encoders import Comparison, Encoder, Part, whole
from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers import hf
from benchmarks.texts import skewed_lengths
from mm_kptm.batch import EVERY_ROW, Inputs, OutputRows, SequenceLayout, Tokens, pad
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, translations
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import ExactCount, MaskedTokens, Masking

SIZES: dict[str, Any] = {"dim": 256, "num_heads": 4, "num_layers": 4, "vocab_size": 30522, "num_languages": 15}
PAIRS, LONGEST, SPREAD, RATE, LR = 32, 157, 0.51, 0.15, 1e-4
SPECIALS, FIRST_WORD = Specials(pad=2, unknown=3, start=0, stop=1, mask=5), 14
VERSIONS = hf.VERSION
MASKING = Masking(SPECIALS.mask, (FIRST_WORD, SIZES["vocab_size"]), frozenset({0, 1}), ExactCount(RATE))


def drawn(generator: torch.Generator) -> Tokens:
    """Pairs of random words in two of the languages, in order of length as the sampler keeps them."""

    def sentence(length: int, language: int) -> EncodedSentence:
        return EncodedSentence(
            torch.randint(FIRST_WORD, SIZES["vocab_size"], (length,), generator=generator).tolist(), language
        )

    pairs = []
    for length in skewed_lengths(PAIRS, LONGEST, SPREAD):
        words = length - 4  # both sentences are framed
        first = int(words * (0.4 + 0.2 * torch.rand((), generator=generator)))
        languages = torch.randperm(SIZES["num_languages"], generator=generator).tolist()
        pairs.append((sentence(first, languages[0]), sentence(words - first, languages[1])))
    packed = translations(pairs, SPECIALS)
    ids, positions, languages = (torch.from_numpy(packed.columns[name]) for name in ("ids", "positions", "languages"))
    layout = SequenceLayout(tuple(packed.lengths.tolist()))
    return Tokens(ids, layout, positions, torch.zeros_like(ids), languages)


def padded(tokens: Tokens, chosen: Tensor, labels: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Some pairs in their form; where their tokens stand among the places; and which tokens of the batch they are."""
    assert tokens.languages is not None
    layout, rows = tokens.layout.select(chosen)
    real = pad(torch.ones(layout.total, dtype=torch.bool), layout)
    given = {
        "input_ids": pad(tokens.ids[rows], layout, value=SPECIALS.pad),
        "attention_mask": real.long(),
        "position_ids": pad(tokens.positions[rows], layout),
        "langs": pad(tokens.languages[rows], layout),
    }
    if labels is not None:
        given["labels"] = pad(labels[rows], layout, value=-100)
    return given, real.flatten().nonzero().squeeze(1), rows


def config() -> XLMConfig:
    """An XLM of these sizes without dropout."""
    return XLMConfig(
        vocab_size=SIZES["vocab_size"],
        emb_dim=SIZES["dim"],
        n_layers=SIZES["num_layers"],
        n_heads=SIZES["num_heads"],
        n_langs=SIZES["num_languages"],
        dropout=0.0,
        attention_dropout=0.0,
        embed_init_std=SIZES["dim"] ** -0.5,
    )


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    generator = torch.Generator().manual_seed(seed)
    tokens = drawn(generator)
    unsorted = torch.randperm(PAIRS, generator=generator)
    theirs = hf.seeded(XLMWithLMHeadModel, config(), seed)
    batch = MaskedTokens(MASKING).prepare(Inputs(text=tokens), generator)
    sizes = {**SIZES, "pairs": PAIRS, "rows": tokens.rows, "hidden": len(batch.rows)}
    return (*_states(theirs, tokens, unsorted, sizes).cases(seed), _step(theirs, batch, unsorted, sizes))


def _ours(theirs: nn.Module, heads: list[str]) -> Any:
    return hf.ours_of(theirs, "xlm", heads, **SIZES, dropout=0.0).train()


def _states(whole_model: nn.Module, tokens: Tokens, unsorted: Tensor, sizes: dict[str, Any]) -> Comparison:
    theirs = hf.seeded(XLMModel, config(), 0)
    theirs.load_state_dict(whole_model.transformer.state_dict())  # type: ignore[union-attr]

    def part(chosen: Tensor) -> Part:
        given, places, rows = padded(tokens, chosen)
        return Part(lambda: theirs(**given).last_hidden_state, places, rows)

    ours = _ours(theirs, [])
    coarse = copy.deepcopy(ours)
    inputs, output_rows = Inputs(text=tokens), OutputRows({"text": EVERY_ROW}, pooled=False)
    words: nn.Embedding = theirs.embeddings  # type: ignore[assignment]
    return Comparison(
        name="g16",
        title="states of XLM, 4 layers of 256, 32 pairs of translations, fill 0.38",
        unit="real tokens",
        work=float(tokens.rows),
        encoders={
            PEER: Encoder(theirs, words, [part(unsorted)]),
            "careful peer": Encoder(theirs, words, [part(chosen) for chosen in torch.arange(PAIRS).chunk(4)]),
            OURS: whole(ours, ours.encoder.embed.text.word, lambda: ours(inputs, output_rows).text, tokens.rows),
            "ours bf16": whole(
                coarse,
                coarse.encoder.embed.text.word,
                lambda: coarse(inputs, output_rows).text,
                tokens.rows,
                bf16=True,
            ),
        },
        sizes=sizes,
    )


class Stepper:
    """Training on the sum of some losses, whose gradients are added up one after the other."""

    def __init__(self, module: nn.Module, losses: Sequence[Callable[[], Tensor]], *, fused: bool) -> None:
        self.module = module
        self.losses = losses
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=LR, fused=True if fused else None)

    def step(self) -> Tensor:
        """Loss before the step."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for loss in self.losses:
            part = loss()
            part.backward()
            total += part.detach()
        self.optimizer.step()
        return total


def losses_apart(steppers: Mapping[str, Stepper]) -> dict[str, float]:
    """How far each loss is from the peer's in two steps; the second one has been through the optimiser."""
    differences = dict.fromkeys((f"loss of {name}" for name in steppers if name != PEER), 0.0)
    for _ in range(2):
        truth = steppers[PEER].step()
        for name, stepper in steppers.items():
            if name != PEER:
                difference = float((stepper.step() - truth).abs())
                differences[f"loss of {name}"] = max(differences[f"loss of {name}"], difference)
    return differences


def _step(theirs: nn.Module, batch: RowTargets, unsorted: Tensor, sizes: dict[str, Any]) -> Case:
    tokens = batch.inputs.text
    assert tokens is not None
    labels = torch.full_like(tokens.ids, -100)
    labels[batch.rows] = batch.labels

    def peer(batches: Sequence[Tensor], *, fused: bool) -> Stepper:
        model = copy.deepcopy(theirs).train()

        def loss_of(chosen: Tensor) -> Callable[[], Tensor]:
            given, _, _ = padded(tokens, chosen, labels)
            share = float((given["labels"] >= 0).sum()) / len(batch.rows)
            return lambda: model(**given).loss * share

        return Stepper(model, [loss_of(chosen) for chosen in batches], fused=fused)

    def ours(*, bf16: bool) -> Stepper:
        system, objective = _ours(theirs, ["masked-tokens"]), MaskedTokens(MASKING)

        def loss() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return objective.loss(system, batch)

        return Stepper(system, [loss], fused=True)

    steppers = {
        PEER: peer([unsorted], fused=False),
        "careful peer": peer(torch.arange(PAIRS).chunk(4), fused=True),
        OURS: ours(bf16=False),
        "ours bf16": ours(bf16=True),
    }

    def check() -> dict[str, float]:
        differences = losses_apart(steppers)
        limits = {name: 0.03 if "bf16" in name else 2e-5 for name in differences}
        return within(differences, limits, "g16-step")

    def does_all(stepper: Stepper) -> Callable[[], float]:
        return lambda: float(tokens.rows) if bool(stepper.step().isfinite()) else 0.0

    return Case(
        name="g16-step",
        title="step of translation language modelling, 4 layers of 256, 32 pairs, fill 0.38",
        unit="real tokens",
        work=float(tokens.rows),
        variants={name: does_all(stepper) for name, stepper in steppers.items()},
        check=check,
        sizes=sizes,
    )
