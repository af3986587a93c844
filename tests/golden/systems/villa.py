"""VILLA against the released training block of Gan et al. (2020), executed on UNITER."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.objectives.adversarial import AdversarialStep
from mm_kptm.systems.discovery import find
from mm_kptm.systems.keymap import translate
from mm_kptm.systems.system import System
from mm_kptm.tasks.adversarial_training import AdversarialSettings, AdversarialTraining
from tests.golden.case import Answer, Case
from tests.golden.systems.uniter import Given, joined, loaded

Logits = Callable[[Inputs], Tensor]


class Model(nn.Module):
    """A system with the released loss of a task."""

    def __init__(self, system: System, head: str, logits: Logits, criterion: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.system = system
        self.head, self.logits, self.criterion = head, logits, criterion

    def loss(self, batch: Inputs) -> Tensor:
        return self.criterion(self.logits(batch))

    def measure(self, batch: Inputs) -> dict[str, Tensor]:
        return {}


def model(case: Case, given: Given) -> tuple[Model, dict[str, Any]]:
    targets = given.tensors["targets"]
    if case.kind.startswith("vqa"):
        system = loaded(case, vqa={"num_answers": case.config["num_answer"]})
        head = system.head("vqa")
        criterion = lambda scores: F.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1).mean()  # noqa: E731
        return Model(system, "vqa", lambda inputs: head(system(inputs).pooled), criterion), {}
    if case.kind.startswith("nlvr2"):
        system = loaded(case, nlvr2={})
        criterion = lambda scores: F.cross_entropy(scores, targets)  # noqa: E731
        return Model(system, "nlvr2", lambda inputs: system.head("nlvr2")(*joined(system, inputs)), criterion), {}
    system = loaded(case, vcr={})
    criterion = lambda scores: F.cross_entropy(scores, targets.squeeze(1))  # noqa: E731
    logits: Logits = lambda inputs: system.head("vcr")(system(inputs).pooled)  # noqa: E731
    return Model(system, "vcr", logits, criterion), {"kl_reduction": "mean"}


def step(case: Case) -> dict[str, Answer]:
    given, asked = Given(case), case.config["adv"]
    trained, more = model(case, given)
    settings = AdversarialSettings(
        modality=tuple(name for name in asked["adv_modality"] if name != "alter"),
        alternate="alter" in asked["adv_modality"],
        steps=asked["adv_steps"],
        lr_text=asked["adv_lr_txt"],
        lr_image=asked["adv_lr_img"],
        norm=asked["norm_type"],
        max_norm=float(asked["adv_max_norm"]),
        kl_weight=asked["adv_kl_weight"],
        **more,
    )
    with torch.enable_grad():
        adversarial = AdversarialTraining(trained, trained.system, settings)
        inputs = given.inputs()
        clean = trained.logits(inputs)
        steps = adversarial.steps(inputs)
        torch.stack([one.loss for one in steps]).sum().backward()
    answers = {"clean_logits": Answer(clean.detach())}
    for number, one in enumerate(steps):
        answers |= {f"step{number}.{name}": answer for name, answer in told(one, given, settings).items()}
    return answers | gradients(case, trained.system)


def told(one: AdversarialStep, given: Given, settings: AdversarialSettings) -> dict[str, Answer]:
    outputs = [done.outputs[-1].detach() for done in one.passes]
    named = (
        {"logits": outputs[0]}
        if len(outputs) == 1
        else {f"logits.{name}": output for name, output in zip(settings.modality, outputs, strict=True)}
    )
    answers = {name: Answer(output) for name, output in named.items()}
    places: Mapping[str, tuple[str, Tensor]] = {
        "text": ("txt_delta", given.text),
        "image": ("img_delta", given.regions),
    }
    for name, delta in one.deltas.items():
        key, where = places[name]
        answers[key] = Answer(delta.detach(), where)
    return answers | {"loss": Answer(one.loss.detach().reshape(1))}


def gradients(case: Case, system: System) -> dict[str, Answer]:
    """The gradients of the parameters whose official names the case lists."""
    names = [name.removeprefix("grad.") for name in case.outputs if name.startswith("grad.")]
    ours = dict(system.named_parameters(remove_duplicate=False))
    marks = {name: torch.full((1,), float(number)) for number, name in enumerate(names)}
    placed = translate(marks, find("uniter").weights).placed
    return {f"grad.{name}": Answer(ours[placed[name].split(", ")[0]].grad) for name in names}


MODALITIES = ("text", "image", "both", "text_image", "alter")
CASES = {
    f"{task}_{modality}{norm}": step
    for task in ("vqa", "nlvr2", "vcr", "ve")
    for modality in MODALITIES
    for norm in ("", "_clip", "_l2", "_linf")
}
