"""An encoder of theirs and ours on the same inputs: its states, and its gradients from the same pull on them.

Every implementation cuts and pads the inputs as it likes; what is compared is the rows that are real, in one order.

Shapes: N compared rows, D dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import PEER, Case, within


@dataclass(frozen=True)
class Part:
    """One call of an encoder, and which of the rows it answers are compared."""

    run: Callable[[], Tensor]  #: states [..., D]
    places: Tensor  #: the compared ones among the rows of the answer, [n]
    numbers: Tensor  #: which of the N each of them is, [n]


@dataclass(frozen=True, eq=False)
class Encoder:
    """One implementation with its own weights."""

    module: nn.Module
    word: nn.Embedding  #: its table of words: its gradient has been through every layer
    parts: Sequence[Part]
    bf16: bool = False

    def _states(self, part: Part) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return part.run()

    @torch.no_grad()
    def states(self) -> Tensor:
        """The compared rows, [N, D]."""
        rows = [self._states(part).float().flatten(0, -2)[part.places] for part in self.parts]
        return torch.cat(rows)[torch.cat([part.numbers for part in self.parts]).argsort()]

    @torch.no_grad()
    def forward(self) -> None:
        """The states, as a user would compute them."""
        for part in self.parts:
            self._states(part)

    def pulled(self, pull: Tensor) -> Callable[[], None]:
        """The gradients of (states * ``pull``) summed, ``pull`` [N, D]."""
        with torch.no_grad():
            weights = [torch.zeros_like(part.run(), dtype=torch.float32) for part in self.parts]
        for weight, part in zip(weights, self.parts, strict=True):
            weight.view(-1, weight.shape[-1])[part.places] = pull[part.numbers]

        def step() -> None:
            self.module.zero_grad(set_to_none=True)
            for weight, part in zip(weights, self.parts, strict=True):
                (self._states(part) * weight).sum().backward()

        return step

    def word_gradient(self) -> Tensor:
        """Of the words that the inputs hold; zero for all others."""
        assert self.word.weight.grad is not None
        return self.word.weight.grad.clone()

    def gradient_size(self) -> Tensor:
        """The length of all gradients as one vector, without those of tables.

        Hugging Face gives row 0 of some tables none, where the published model and ours let it learn.
        """
        tables = {table.weight for table in self.module.modules() if isinstance(table, nn.Embedding)}
        others = (p.grad for p in self.module.parameters() if p not in tables)
        return torch.stack([gradient.norm() for gradient in others if gradient is not None]).norm()


@dataclass(frozen=True)
class Comparison:
    """The same work by several implementations, of which one is called ``peer`` and one ``ours``."""

    name: str
    title: str
    unit: str
    work: float
    encoders: Mapping[str, Encoder]
    sizes: Mapping[str, object]

    def cases(self, seed: int) -> tuple[Case, Case]:
        """Forward alone; and forward and backward."""
        peer = self.encoders[PEER].states()
        pull = torch.randn(peer.shape, generator=torch.Generator().manual_seed(seed)) / len(peer)
        steps = {name: encoder.pulled(pull) for name, encoder in self.encoders.items()}
        return (
            self._case("", "forward", self._check_states, {name: e.forward for name, e in self.encoders.items()}),
            self._case("-training", "forward and backward", lambda: self._check_gradients(steps), steps),
        )

    def _case(
        self, suffix: str, kind: str, check: Callable[[], dict[str, float]], variants: Mapping[str, Callable[[], None]]
    ) -> Case:
        return Case(
            name=self.name + suffix,
            title=f"{self.title}, {kind}",
            unit=self.unit,
            work=self.work,
            variants={name: self._worked(variant) for name, variant in variants.items()},
            check=check,
            sizes=self.sizes,
        )

    def _worked(self, variant: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            variant()
            return self.work

        return run

    def _check_states(self) -> dict[str, float]:
        truth = self.encoders[PEER].states()
        differences, limits = {}, {}
        for name, encoder in self.encoders.items():
            if name == PEER:
                continue
            states = encoder.states()
            if encoder.bf16:
                differences[f"angle of {name}"] = float(1 - torch.cosine_similarity(states, truth).min())
                limits[f"angle of {name}"] = 1e-3
            else:
                differences[f"states of {name}"] = float((states - truth).abs().max())
                limits[f"states of {name}"] = 1e-5
        return within(differences, limits, self.name)

    def _check_gradients(self, steps: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
        """Relative to the greatest gradient of a word, and to the length of all gradients."""
        steps[PEER]()
        truth, size = self.encoders[PEER].word_gradient(), self.encoders[PEER].gradient_size()
        differences, limits = self._check_states(), {}
        for name, encoder in self.encoders.items():
            if name == PEER:
                continue
            steps[name]()
            words, whole = f"gradient of words of {name}", f"size of all gradients of {name}"
            differences[words] = float((encoder.word_gradient() - truth).abs().max() / truth.abs().max())
            differences[whole] = float((encoder.gradient_size() - size).abs() / size)
            limits |= {words: 0.05, whole: 0.01} if encoder.bf16 else {words: 1e-4, whole: 1e-5}
            encoder.module.zero_grad(set_to_none=True)
        self.encoders[PEER].module.zero_grad(set_to_none=True)
        return within(differences, limits, self.name)


def whole(
    module: nn.Module, word: nn.Embedding, run: Callable[[], Tensor], count: int, *, bf16: bool = False
) -> Encoder:
    """An encoder that answers exactly the compared rows in their order, in one call."""
    numbers = torch.arange(count)
    return Encoder(module, word, [Part(run, numbers, numbers)], bf16=bf16)
