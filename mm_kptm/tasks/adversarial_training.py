"""Adversarial training of any task on any encoder (Gan et al. 2020, VILLA).

Shapes: T token rows, R region rows, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.objectives.adversarial import AdversarialStep, Ascent, Pass, adversarial_steps
from mm_kptm.systems.system import System
from mm_kptm.train.protocol import AfterStep, Trainable, module_of

TEXT, IMAGE = "text", "image"


@dataclass(frozen=True)
class AdversarialSettings:
    """Adversarial training with perturbed word vectors and region features (VILLA)."""

    modality: tuple[Literal["text", "image"], ...] = ("text",)  #: what is perturbed: words, regions or both
    alternate: bool = False  #: whether words and regions are perturbed in passes of their own
    steps: int = 3  #: forward passes with a perturbation, each of which moves it
    lr_text: float = 1e-3  #: length of a step of the words' perturbation
    lr_image: float = 1e-3  #: length of a step of the regions' perturbation
    norm: Literal["l2", "linf"] = "l2"  #: of a perturbation, over all rows of a sequence
    max_norm: float = 0.0  #: longest perturbation; 0 for no limit
    kl_weight: float = 1.5  #: of the divergence from the answers without a perturbation
    kl_reduction: Literal["batchmean", "mean"] = "batchmean"  #: mean as the released code does on VCR

    def __post_init__(self) -> None:
        if not self.modality or len(set(self.modality)) < len(self.modality):
            raise UserError(f"adversarial.modality is {list(self.modality)}; name text, image or both, each once")
        for name in ("steps", "lr_text", "lr_image"):
            if not getattr(self, name) > 0:
                raise UserError(f"adversarial.{name} is {getattr(self, name)} but must be greater than 0")
        for name in ("max_norm", "kl_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"adversarial.{name} is {getattr(self, name)} but must not be less than 0")

    @property
    def ascents(self) -> dict[str, Ascent]:
        """How the perturbation of each modality moves."""
        rates = {TEXT: self.lr_text, IMAGE: self.lr_image}
        return {name: Ascent(rates[name], self.norm, self.max_norm) for name in self.modality}


class AdversarialTraining(nn.Module):
    """A model trained on perturbed inputs; evaluation is that of the model.

    The perturbations are added to the word embeddings, before positions and segments, and to the features of regions,
    before their projection; they begin at zero. The divergence is that of the outputs of all heads. One call of
    :meth:`loss` gives the sum over the steps, whose gradient is what the released code accumulates.

    Args:
        model: a task, or a mixture of objectives.
        system: the system that it trains.
        settings: of the training.

    Raises:
        UserError: words are perturbed, but the encoder has no word embeddings to add to.
    """

    def __init__(self, model: Trainable[Any], system: System, settings: AdversarialSettings) -> None:
        super().__init__()
        self.model = module_of(model)
        self.settings = settings
        self._trained = (model, system)
        if TEXT in settings.modality and not any(isinstance(part, TextEmbedding) for part in system.encoder.modules()):
            raise UserError(
                f"adversarial.modality perturbs text, but {system.recipe} has no word embeddings that could be "
                "perturbed; leave text out"
            )

    def loss(self, batch: Any) -> Tensor:
        """The losses of all steps, a scalar.

        Raises:
            UserError: the batch lacks what is perturbed.
        """
        return torch.stack([step.loss for step in self.steps(batch)]).sum()

    def steps(self, batch: Any) -> list[AdversarialStep]:
        """What every step did; errors as :meth:`loss`."""
        starts: dict[str, tuple[Tensor, SequenceLayout]] = {}
        clean = self._pass(batch, {}, starts)
        settings = self.settings
        if missing := [name for name in settings.modality if not any(key.startswith(name) for key in starts)]:
            raise UserError(f"adversarial.modality perturbs {missing[0]}, but the batches of this run have none")
        rules = settings.ascents
        return adversarial_steps(
            clean,
            lambda deltas: self._pass(batch, deltas, None),
            starts,
            {key: rules[key.split("-")[0]] for key in starts},
            steps=settings.steps,
            kl_weight=settings.kl_weight,
            kl_reduction=settings.kl_reduction,
            alternate=settings.alternate,
        )

    def _pass(
        self, batch: Any, deltas: Mapping[str, Tensor], starts: dict[str, tuple[Tensor, SequenceLayout]] | None
    ) -> Pass:
        model, system = self._trained
        with _perturbed(system, deltas, self.settings.modality, starts), _outputs(self.model, system) as outputs:
            loss = model.loss(batch)
        return Pass(loss, tuple(outputs))

    def measure(self, batch: Any) -> dict[str, Tensor]:
        """The measures of the model, [B] each."""
        return self._trained[0].measure(batch)

    def after_step(self, step: int) -> None:
        """Let the model update what follows the weights, after an optimiser step counted from 1."""
        if isinstance(self.model, AfterStep):
            self.model.after_step(step)


@contextmanager
def _perturbed(
    system: System,
    deltas: Mapping[str, Tensor],
    modality: tuple[str, ...],
    starts: dict[str, tuple[Tensor, SequenceLayout]] | None,
) -> Iterator[None]:
    """Add perturbations to what the encoder reads; with ``starts``, put zeros of their shapes there.

    Each call of the encoder within one pass (two texts that are compared, say) has perturbations of its own.
    """
    words = next((part for part in system.encoder.modules() if isinstance(part, TextEmbedding)), None)
    calls = 0

    def add(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal calls
        inputs: Inputs = given[0] if given else named["inputs"]
        text, regions, name = inputs.text, inputs.regions, f"-{calls}" if calls else ""
        calls += 1
        if starts is not None:
            if TEXT in modality and text is not None and words is not None:
                starts[TEXT + name] = (torch.zeros_like(words.words(text)), text.layout)
            if IMAGE in modality and regions is not None:
                starts[IMAGE + name] = (torch.zeros_like(regions.features), regions.layout)
        if TEXT + name in deltas and text is not None and words is not None:
            inputs = inputs.with_streams(text=replace(text, vectors=words.words(text) + deltas[TEXT + name]))
        if IMAGE + name in deltas and regions is not None:
            inputs = inputs.with_streams(regions=replace(regions, features=regions.features + deltas[IMAGE + name]))
        return (inputs, *given[1:]), {key: value for key, value in named.items() if key != "inputs"}

    handle = system.encoder.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _outputs(model: nn.Module, system: System) -> Iterator[list[Tensor]]:
    """Collect what the heads of the system and of the model give, in the order of their calls."""
    own = [part for name, part in model.named_children() if part is not system]
    heads = dict.fromkeys([*system.heads.values(), *own, *(child for part in own for child in part.children())])
    heads.pop(system, None)
    found: list[Tensor] = []
    depth = 0

    def enter(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal depth
        depth -= 1
        if not depth and isinstance(output, Tensor):  # a head inside another gives no answer
            found.append(output)

    handles = [
        handle
        for head in heads
        for handle in (head.register_forward_pre_hook(enter), head.register_forward_hook(leave))
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
