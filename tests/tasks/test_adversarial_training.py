"""Adversarial training of any task on any encoder: what is perturbed, how, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mm_kptm import config, experiment
from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import Experiment
from mm_kptm.objectives.adversarial import Ascent, sequence_norms, symmetric_kl
from mm_kptm.tasks.adversarial_training import AdversarialSettings, AdversarialTraining


def settings(
    tmp_path: Path, task: str = "vqa", adversarial: str = "{modality: [text, image]}", **more: str
) -> Experiment:
    (tmp_path / "e.yaml").write_text(
        f"""
        name: e
        task: {task}
        data: {{name: number-world, questions: 40, eval_questions: 20, languages: [en]}}
        encoder:
          recipe: {more.get("recipe", "uniter-base")}
          sizes: {{num_layers: 1, dim: 16, num_heads: 2, ffn_dim: 32, dropout: 0.0}}
          init_std: 0.1
        {"objectives: " + more["objectives"] if "objectives" in more else ""}
        adversarial: {adversarial}
        train: {{steps: 2, batch_size: 8}}
        out: {tmp_path}
        """
    )
    return config.read(Experiment, tmp_path / "e.yaml")


def first_batch(built: Built) -> object:
    return built.training.batch(range(6), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("task", ["vqa", "grounding", "retrieval", "knowledge-vqa"])
def test_any_task_is_trained_and_each_step_raises_the_loss(tmp_path: Path, task: str) -> None:
    chosen = "{modality: [text, image], steps: 4, lr_text: 0.05, lr_image: 0.05, kl_weight: 0.0}"
    built = build(settings(tmp_path, task, chosen))
    model = built.model
    assert isinstance(model, AdversarialTraining) and built.task is not None and built.task.name == task
    batch = first_batch(built)
    steps = model.steps(batch)
    losses = [float(step.loss.detach()) for step in steps]
    assert losses[0] == pytest.approx(float(built.task.loss(batch).detach()) / 4, rel=1e-5)
    assert losses == sorted(losses) and losses[-1] > losses[0]
    model.loss(batch).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_without_steps_up_the_gradient_it_is_the_plain_loss(tmp_path: Path) -> None:
    built = build(settings(tmp_path, adversarial="{modality: [text], steps: 1, kl_weight: 2.0}"))
    batch = first_batch(built)
    torch.testing.assert_close(built.model.loss(batch), built.task.loss(batch))


def test_a_text_encoder_and_objectives_beside_a_task_are_trained_too(tmp_path: Path) -> None:
    text = build(settings(tmp_path, "entity-typing", "{modality: [text]}", recipe="bert-base"))
    assert torch.isfinite(text.model.loss(first_batch(text)))
    beside = build(settings(tmp_path, objectives="{masked-tokens: 1.0}"))
    assert torch.isfinite(beside.model.loss(first_batch(beside)))


def test_nothing_of_it_stays_behind(tmp_path: Path) -> None:
    built = build(settings(tmp_path))
    batch = first_batch(built)
    before = built.task.loss(batch).detach()
    built.model.loss(batch)
    assert torch.equal(built.task.loss(batch).detach(), before)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in built.system.modules())
    assert built.model.measure(batch).keys() == built.task.measure(batch).keys()


def test_a_run_is_trained_saved_and_evaluated(tmp_path: Path) -> None:
    chosen = settings(tmp_path, adversarial="{modality: [image], alternate: true, norm: linf, max_norm: 0.1}")
    experiment.train(chosen, tmp_path / "e", progress=False)
    assert 0 <= float(str(experiment.evaluate(tmp_path / "e", "dev")["accuracy"])) <= 1
    names = json.loads((tmp_path / "e" / "model" / "config.json").read_text())["heads"]
    assert "vqa" in names


def test_what_cannot_be_perturbed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="perturbs image, but the batches of this run have none"):
        built = build(settings(tmp_path, "entity-typing", "{modality: [image]}", recipe="bert-base"))
        built.model.loss(first_batch(built))
    built = build(settings(tmp_path))
    built.system.encoder = nn.Linear(2, 2)
    with pytest.raises(UserError, match="perturbs text, but uniter-base has no word embeddings"):
        AdversarialTraining(built.model, built.system, AdversarialSettings())
    for wrong, message in (
        ({"modality": ()}, "name text, image or both, each once"),
        ({"steps": 0}, "steps is 0 but must be greater than 0"),
        ({"max_norm": -1.0}, "max_norm is -1.0 but must not be less than 0"),
    ):
        with pytest.raises(UserError, match=message):
            AdversarialSettings(**wrong)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_step_has_the_length_of_its_rate_in_every_sequence(norm: str) -> None:
    layout = SequenceLayout((2, 0, 3))
    gradient = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    moved = Ascent(0.1, norm)(torch.zeros(5, 4), gradient, layout)
    torch.testing.assert_close(sequence_norms(moved, layout, norm), torch.tensor([0.1, 0.0, 0.1]))
    held = Ascent(10.0, norm, 0.5)(torch.zeros(5, 4), gradient, layout)
    torch.testing.assert_close(sequence_norms(held, layout, norm), torch.tensor([0.5, 0.0, 0.5]))


def test_the_divergence_is_symmetric_and_that_of_one_logit_is_a_yes_against_a_no() -> None:
    one, two = torch.randn(2, 3, 4).unbind()
    torch.testing.assert_close(symmetric_kl(one, two), symmetric_kl(two, one))
    half, other = torch.zeros(1, 2), torch.tensor([[0.8, 0.2]]).log()
    torch.testing.assert_close(symmetric_kl(half, other), torch.tensor(0.415889))
    torch.testing.assert_close(
        symmetric_kl(one[:, :1], two[:, :1]),
        symmetric_kl(torch.cat([0 * one[:, :1], one[:, :1]], 1), torch.cat([0 * two[:, :1], two[:, :1]], 1)),
    )
