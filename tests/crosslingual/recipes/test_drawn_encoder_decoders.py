"""Drawn encoder-decoders of MASS and XNLG and drawn batches against plain arrays, a sentence at a time, in float64."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf

import mm_kptm
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.crosslingual.objectives.masked_spans import MaskedSpanGeneration, SpanPolicy
from mm_kptm.crosslingual.objectives.word_noise import WordDenoising, WordNoise
from mm_kptm.objectives.next_tokens import NextTokens

Array = NDArray[np.float64]
START, PAD, UNKNOWN, MASK = 1, 2, 3, 5  # as in every vocabulary of XLM


class Plain:
    """The post-norm encoder-decoder of XLM, with the changes of MASS where ``mask_blind`` (Song et al. 2019)."""

    def __init__(self, weights: dict[str, Array], num_heads: int, activation: str, *, mask_blind: bool) -> None:
        self.weights, self.num_heads, self.activation, self.mask_blind = weights, num_heads, activation, mask_blind

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embed(self, name: str, ids: list[int], positions: list[int], language: int) -> Array:
        word = self.weights[f"{name}.word.weight"][ids]
        dim = word.shape[1]
        if f"{name}.position.weight" in self.weights:
            place = self.weights[f"{name}.position.weight"][positions]
        else:
            angles = np.array(positions)[:, None] / 10000 ** (2 * (np.arange(dim) // 2) / dim)
            place = np.where(np.arange(dim) % 2, np.cos(angles), np.sin(angles))
        spoken = self.weights.get(f"{name}.language.weight")
        return self.norm(f"{name}.norm", word + place + (0 if spoken is None else spoken[language]))

    def attention(self, name: str, x: Array, source: Array, seen: NDArray[np.bool_], language: int) -> Array:
        q, k, v = (self.linear(f"{name}.{part}", given) for part, given in zip("qkv", (x, source, source), strict=True))
        out, width = [], x.shape[1] // self.num_heads
        for head in range(self.num_heads):
            columns = slice(head * width, (head + 1) * width)
            scores = q[:, columns] @ k[:, columns].T / math.sqrt(width)
            scores = np.where(seen, scores, -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(shares / shares.sum(-1, keepdims=True) @ v[:, columns])
        projection = f"{name}.out.{language}" if f"{name}.out.{language}.weight" in self.weights else f"{name}.out"
        return self.linear(projection, np.concatenate(out, axis=1))

    def ffn(self, name: str, x: Array) -> Array:
        x = self.linear(f"{name}.up_proj", x)
        x = np.maximum(x, 0) if self.activation == "relu" else x * (1 + erf(x / math.sqrt(2))) / 2
        return self.linear(f"{name}.down_proj", x)

    def states(self, text: list[int], spoken: int, target: list[int], positions: list[int], language: int) -> Array:
        x = self.embed("source.embed.text", text, list(range(len(text))), spoken)
        everything = np.ones((len(text), len(text)), bool)
        for layer in self.layers("source"):
            x = self.norm(f"{layer}.sa.norm", x + self.attention(f"{layer}.sa", x, x, everything, spoken))
            x = self.norm(f"{layer}.ffn.norm", x + self.ffn(f"{layer}.ffn", x))
        y = self.embed("target.embed", target, positions, language)
        causal = np.tri(len(target), dtype=bool)
        seen = np.array([not self.mask_blind or token != MASK for token in text])[None].repeat(len(target), 0)
        for layer in self.layers("target"):
            y = self.norm(f"{layer}.sa.norm", y + self.attention(f"{layer}.sa", y, y, causal, language))
            y = self.norm(f"{layer}.ca.norm", y + self.attention(f"{layer}.ca", y, x, seen, language))
            y = self.norm(f"{layer}.ffn.norm", y + self.ffn(f"{layer}.ffn", y))
        return y

    def layers(self, side: str) -> list[str]:
        numbers = {name.split(".")[2] for name in self.weights if name.startswith(f"{side}.layers.")}
        return [f"{side}.layers.{number}" for number in sorted(numbers, key=int)]

    def nll(self, states: Array, labels: list[int]) -> Array:
        scores = self.linear("output", states)
        top = scores.max(-1, keepdims=True)
        logs = scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))
        return -logs[np.arange(len(labels)), labels]


#: What the parts of a system are called here.
SHORT = {
    "encoder.": "",
    "heads.next-tokens.bias": "output.bias",
    "heads.next-tokens.word.": "output.",
    "self_attention.norm": "sa.norm",
    "cross_attention.norm": "ca.norm",
    "self_attention.attention": "sa",
    "cross_attention.attention": "ca",
    "out_proj.linears.": "out.",
    "out_proj": "out",
    ".query.": ".q.",
    ".key.": ".k.",
    ".value.": ".v.",
}


def drawn(family: str, dice: random.Random) -> tuple[Any, Plain, dict[str, Any]]:
    """A system with drawn sizes, and the same in plain arrays."""
    heads = dice.choice([1, 2, 3])
    sizes: dict[str, Any] = {
        "dim": heads * 2 * dice.randint(1, 4),
        "num_heads": heads,
        "num_layers": dice.randint(1, 3),
        "num_decoder_layers": dice.randint(1, 3),
        "vocab_size": dice.randint(12, 40),
        "max_positions": dice.randint(14, 20),
        "num_languages": dice.choice([0, 1, 2, 3]),
        "positions": dice.choice(["learned", "sinusoidal"]),
        "activation": dice.choice(["gelu", "relu"]),
        "dropout": 0.0,
    }
    system = mm_kptm.build(family, heads={"next-tokens": {}}, seed=0, **sizes).double()
    generator = torch.Generator().manual_seed(dice.randrange(2**31))
    with torch.no_grad():
        for name, parameter in system.named_parameters():
            if name.endswith("position.weight") and sizes["positions"] == "sinusoidal":
                continue
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    weights = {}
    for name, value in system.state_dict().items():
        for long, short in SHORT.items():
            name = name.replace(long, short)
        weights[name] = value.numpy()
    if sizes["positions"] == "sinusoidal":
        weights = {name: value for name, value in weights.items() if not name.endswith("position.weight")}
    plain = Plain(weights, heads, sizes["activation"], mask_blind=family == "mass")
    return system, plain, sizes


def sentences(dice: random.Random, sizes: dict[str, Any], most: int) -> tuple[list[list[int]], list[int]]:
    """Drawn sentences ``</s> .. </s>``, some without a word, and the language of each."""
    count = dice.choice([1, 1, 2, 3, 5])
    special = dice.random() < 0.15
    texts = []
    for _ in range(count):
        words = dice.choice([0, 1, dice.randint(1, most)])
        drawn_from = [START, PAD, UNKNOWN, MASK] if special else range(6, sizes["vocab_size"])
        texts.append([START, *(dice.choice(drawn_from) for _ in range(words)), START])
    return texts, [dice.randrange(max(1, sizes["num_languages"])) for _ in texts]


def tokens(texts: list[list[int]], languages: list[int]) -> Tokens:
    return Tokens.of(texts, languages=[[one] * len(text) for one, text in zip(languages, texts, strict=True)])


def rows_of(layout: SequenceLayout, column: torch.Tensor) -> list[list[int]]:
    return [part.tolist() for part in layout.split(column)]


def compare(system: Any, objective: Any, batch: Any, expected: list[Array], positions: str) -> None:
    """Losses of every row, of every example and of the batch; sinusoids are a table of float32."""
    within = {"rtol": 1e-9 if positions == "learned" else 1e-5, "atol": 1e-9}
    each = np.concatenate(expected)
    system.eval()
    with torch.no_grad():
        np.testing.assert_allclose(objective.losses(system, batch).numpy(), each, **within)
        np.testing.assert_allclose(float(objective.loss(system, batch)), each.mean(), **within)
        means = [one.mean() for one in expected]
        np.testing.assert_allclose(objective.measure(system, batch).numpy(), means, **within)


@pytest.mark.parametrize("seed", range(12))
def test_mass_writes_the_span_as_plain_arrays_do(seed: int) -> None:
    dice = random.Random(seed)
    system, plain, sizes = drawn("mass", dice)
    texts, languages = sentences(dice, sizes, 12)
    share, longest = dice.choice([0.01, 0.2, 0.5, 0.5, 0.9, 0.99]), dice.choice([1, 2, 3, 10000])
    policy = SpanPolicy(share, longest)
    objective = MaskedSpanGeneration(mask_id=MASK, vocab_size=sizes["vocab_size"], policy=policy)
    batch = objective.prepare(Inputs(text=tokens(texts, languages)), torch.Generator().manual_seed(seed))
    shown, given, positions = (
        rows_of(stream.layout, column)
        for stream, column in (
            (batch.inputs.text, batch.inputs.text.ids),
            (batch.inputs.target, batch.inputs.target.ids),
            (batch.inputs.target, batch.inputs.target.positions),
        )
    )
    expected = []
    for number, (text, language) in enumerate(zip(texts, languages, strict=True)):
        places = [position + 1 for position in positions[number]]
        assert places == sorted(set(places)) and len(places) == min(max(1, round(len(text) * share)), len(text) - 1)
        runs = sum(place - 1 not in places for place in places)
        assert runs <= math.ceil(len(places) / longest)
        assert all(shown[number][place] == text[place] for place in range(len(text)) if place not in places)
        assert given[number] == [text[place - 1] for place in places]
        states = plain.states(shown[number], language, given[number], positions[number], language)
        expected.append(plain.nll(states, [text[place] for place in places]))
    compare(system, objective, batch, expected, sizes["positions"])


@pytest.mark.parametrize("seed", range(12))
def test_xnlg_restores_and_translates_as_plain_arrays_do(seed: int) -> None:
    dice = random.Random(100 + seed)
    system, plain, sizes = drawn("xnlg", dice)
    texts, languages = sentences(dice, sizes, 10)
    objective: Any
    if seed % 2:
        noise = WordNoise(MASK, dice.choice([0.0, 3.0]), dice.choice([0.0, 0.1, 0.9]), dice.choice([0.0, 0.1, 0.9]))
        objective = WordDenoising(noise)
        batch = objective.prepare(Inputs(text=tokens(texts, languages)), torch.Generator().manual_seed(seed))
        spoken = languages
    else:
        spoken = [dice.randrange(max(1, sizes["num_languages"])) for _ in texts]
        sources = [
            [START, *(dice.randrange(6, sizes["vocab_size"]) for _ in range(dice.randint(0, 9))), START] for _ in texts
        ]
        objective = NextTokens()
        batch = objective.prepare(Inputs(text=tokens(sources, spoken), target=tokens(texts, languages)))
    shown = rows_of(batch.inputs.text.layout, batch.inputs.text.ids)
    expected = []
    for number, (text, language) in enumerate(zip(texts, languages, strict=True)):
        given = text[:-1]
        if seed % 2:
            assert shown[number][0] == shown[number][-1] == START, "the ends of a text are left alone"
            assert set(shown[number]) <= {*text, MASK}
        states = plain.states(shown[number], spoken[number], given, list(range(len(given))), language)
        expected.append(plain.nll(states, text[1:]))
    compare(system, objective, batch, expected, sizes["positions"])
