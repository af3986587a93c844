"""G8: CLIP on captions of 8 to 27 tokens in a context of 77: the text tower, forward and training, and a whole step.

The peer is open_clip's model on the padded captions; the careful peer cuts them at the longest. Ours packs the tokens,
and the last layer finishes the end of a caption alone. A whole step reads images of 224 pixels beside the captions,
takes the contrast and moves the weights by AdamW.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from benchmarks.harness import OURS, PEER, Case, within
from benchmarks.peers.openclip import ours_of
from mm_kptm.batch import Images, Inputs, Tokens
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.towers import DualTower
from mm_kptm.vision.objectives.image_text_contrast import ImageTextContrastive

MODEL, CONTEXT, CAPTIONS, PAIRS = "ViT-B-32", 77, 16, 8
SHORTEST, LONGEST = 8, 27
VERSIONS = {"open_clip": open_clip.__version__}


def captions(count: int, generator: torch.Generator) -> Tensor:
    """Padded captions of mean length about 16: start, words, end, zeros, [count, 77]."""
    ids = torch.zeros(count, CONTEXT, dtype=torch.long)
    lengths = torch.linspace(SHORTEST, LONGEST, count).round().long()[torch.randperm(count, generator=generator)]
    for row, length in zip(ids, lengths.tolist(), strict=True):
        row[0], row[length - 1] = 49406, 49407
        row[1 : length - 1] = torch.randint(300, 49000, (length - 2,), generator=generator)
    return ids


def packed(ids: Tensor) -> Inputs:
    """The captions in order of length, as the sampler keeps a batch, without padding."""
    real = torch.arange(CONTEXT) <= ids.argmax(1, keepdim=True)
    order = real.sum(1).argsort()
    return Inputs(text=Tokens.padded(ids[order], real[order]))


def build(seed: int = 0) -> tuple[Case, ...]:
    """The cases at their published sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = open_clip.create_model(MODEL, pretrained=None)
    generator = torch.Generator().manual_seed(seed)
    ids = captions(CAPTIONS, generator)
    system = ours_of(theirs, MODEL)
    return (
        _text(theirs, system, ids, training=False),
        _text(theirs, system, ids, training=True),
        _step(theirs, system, captions(PAIRS, generator), torch.randn(PAIRS, 3, 224, 224, generator=generator)),
    )


def _text(theirs: nn.Module, system: System, ids: Tensor, *, training: bool) -> Case:
    towers, inputs = cast(DualTower, system.encoder), packed(ids)
    longest = int(ids.argmax(1).max()) + 1
    short = _shortened(theirs, longest)
    order = ids.argmax(1).argsort()
    ways: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        PEER: (theirs, lambda: theirs.encode_text(ids)[order]),  # type: ignore[operator]
        "careful peer": (short, lambda: short.encode_text(ids[:, :longest])[order]),  # type: ignore[operator]
        OURS: (system, lambda: towers.embed_text(inputs)),
    }

    def gradients(name: str) -> Tensor:
        module, vectors = ways[name]
        module.zero_grad(set_to_none=True)
        vectors().square().sum().backward()
        words = towers.text.encoder.embed.text.word if name == OURS else module.token_embedding  # type: ignore[union-attr]
        return cast(Tensor, words.weight.grad)  # type: ignore[union-attr]

    def check() -> dict[str, float]:
        with torch.no_grad():
            truth = ways[PEER][1]()
            differences = {f"vectors of {name}": float((way() - truth).abs().max()) for name, (_, way) in ways.items()}
        if training:
            expected = gradients(PEER).clone()
            largest = float(expected.abs().max())  # a sum over captions: what counts is the share
            apart = {name: float((gradients(name) - expected).abs().max()) for name in ways}
            differences |= {f"gradients of {name}": value / largest for name, value in apart.items()}
        return within(differences, dict.fromkeys(differences, 1e-4), "g08")

    def forward(name: str) -> Callable[[], float]:
        @torch.no_grad()
        def run() -> float:
            return float(len(ways[name][1]()))

        return run

    def backward(name: str) -> Callable[[], float]:
        return lambda: float(CAPTIONS) if bool(gradients(name).isfinite().all()) else 0.0

    return Case(
        name="g08-training" if training else "g08",
        title=f"text tower of {MODEL}, {CAPTIONS} captions of {SHORTEST} to {LONGEST} of {CONTEXT} tokens",
        unit="captions",
        work=float(CAPTIONS),
        variants={name: (backward if training else forward)(name) for name in ways},
        check=check,
        sizes={"captions": CAPTIONS, "rows": packed(ids).text.rows},  # type: ignore[union-attr]
    )


def _shortened(theirs: nn.Module, length: int) -> nn.Module:
    """The peer with a context of ``length`` tokens."""
    short: Any = copy.deepcopy(theirs, {id(theirs.visual): theirs.visual})  # the image tower is not read
    short.positional_embedding = nn.Parameter(short.positional_embedding[:length].detach().clone())
    short.attn_mask = short.attn_mask[:length, :length]
    return cast(nn.Module, short)


def _step(theirs: nn.Module, system: System, ids: Tensor, pixels: Tensor) -> Case:
    """The last case, for it moves the weights of both."""
    order = ids.argmax(1).argsort()
    batch = packed(ids).with_streams(images=Images(pixels=pixels[order]))
    contrast, objective = ClipLoss(), ImageTextContrastive()
    peer, ours = theirs.train(), system.train()
    optimizers = {name: torch.optim.AdamW(one.parameters(), lr=1e-5) for name, one in ((PEER, peer), (OURS, ours))}
    losses: dict[str, Callable[[], Tensor]] = {
        PEER: lambda: contrast(*peer(pixels, ids)),
        OURS: lambda: objective.loss(ours, batch),
    }

    def step(name: str) -> float:
        optimizers[name].zero_grad(set_to_none=True)
        loss = losses[name]()
        loss.backward()
        optimizers[name].step()
        return float(loss.detach())

    def check() -> dict[str, float]:
        """Two steps: the second loss has been through the gradients and the optimiser."""
        differences = [abs(step(PEER) - step(OURS)) for _ in range(2)]
        return within({"loss": max(differences)}, {"loss": 1e-4}, "g08-step")

    def run(name: str) -> Callable[[], float]:
        return lambda: float(PAIRS) if step(name) < 1e9 else 0.0

    return Case(
        name="g08-step",
        title=f"step of {MODEL}: {PAIRS} images of 224 pixels and their captions, contrast, AdamW",
        unit="pairs",
        work=float(PAIRS),
        variants={name: run(name) for name in losses},
        check=check,
        sizes={"pairs": PAIRS},
    )
