"""A training step waits for the device nowhere: all that decides shapes is computed on the host beside the batch.

The forward pass is counted; the backward pass cannot run on a simulated device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Candidates, Entities, Inputs, OutputRows, SequenceLayout, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.knowledge.objectives.entity_denoising import EntityDenoising
from mm_kptm.knowledge.objectives.entity_linking import EntityLinking
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.systems.system import System
from mm_kptm.train.protocol import module_of
from mm_kptm.train.settings import TrainSettings
from tests.simulated_cuda import CUDA, SimulatedCuda, send, simulated_cuda

SIZES: dict[str, Any] = {"num_layers": 2, "dim": 16, "num_heads": 2, "ffn_dim": 32}
DATA = NumberWorldData(questions=16, eval_questions=4, numbers=20, languages=("en",))
VQA = Experiment(
    name="questions",
    task="vqa",
    encoder=EncoderSettings("uniter-base", SIZES),
    data=DATA,
    train=TrainSettings(steps=2),
)
PRETRAINING = {"masked-tokens": 1.0, "image-text-matching": 1.0, "masked-region-features": 1.0}
RUNS = {
    "bert": replace(
        VQA,
        task=None,
        encoder=EncoderSettings("bert-base", SIZES),
        objectives={"masked-tokens": 1.0},
        data=replace(DATA, texts="sentences"),
    ),
    "uniter": VQA,
    "uniter, pretraining": replace(VQA, task=None, objectives=PRETRAINING, data=replace(DATA, texts="captions")),
    "k-bert": replace(VQA, task="knowledge-vqa", knowledge=KnowledgeSettings("sentence-tree", "true")),
    "ernie": replace(VQA, task="knowledge-vqa", knowledge=KnowledgeSettings("entity-fusion", "true")),
    "knowbert": replace(VQA, task="knowledge-vqa", knowledge=KnowledgeSettings("kar", "true")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_step_of_an_experiment_reads_nothing_back(name: str) -> None:
    built = build(RUNS[name])
    batch = built.source("train").batch(range(8), seeded(0, 1))
    with simulated_cuda() as device:
        send(module_of(built.model).train())
        loss = built.model.loss(batch.to(CUDA))
    check(device, loss)


TEXTS = SequenceLayout((5, 7, 3))


def texts() -> Tokens:
    return Tokens.of([list(range(5, 5 + length)) for length in TEXTS.lengths])


def small(name: str, **sizes: Any) -> System:
    return mm_kptm.build(name, vocab_size=50, max_positions=16, **SIZES, **sizes)


def test_ernie_thu_reads_nothing_back() -> None:
    system = small("ernie-thu-base", entity_dim=8, entity_heads=2)
    ids = torch.full((TEXTS.total,), -1)
    ids[torch.tensor([1, 6, 9, 13])] = torch.tensor([3, 1, 3, 2])
    entities = Entities(vectors=torch.rand(TEXTS.total, 8) * (ids >= 0)[:, None], linked=ids >= 0, ids=ids)
    denoising = EntityDenoising(random_share=0.0, drop_share=0.0)
    batch = denoising.prepare(Inputs(text=texts(), entities=entities), seeded(0, 1))
    with simulated_cuda() as device:
        send(system)
        loss = denoising.loss(system.train(), batch.to(CUDA))
    check(device, loss)


def test_knowbert_reads_nothing_back() -> None:
    system = small("knowbert-wiki", bases={"wiki": {"num_entities": 9, "entity_dim": 8, "span_ffn_dim": 8}})
    candidates = Candidates(
        spans=torch.tensor([[1, 2], [6, 6], [-1, -1]]),
        layout=SequenceLayout((1, 1, 1)),
        entities=torch.tensor([[5, 6], [7, 0], [0, 0]]),
        priors=torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 1.0]]),
    )
    inputs, rows = Inputs(text=texts(), candidates={"wiki": candidates}), OutputRows({"text": torch.tensor([1, 6])})
    with simulated_cuda() as device:
        send(system)
        encoded = system.train()(inputs.to(CUDA), rows.to(CUDA))
    check(device, encoded.text.sum() + encoded.pooled.sum())


@pytest.mark.parametrize("recipe", ["knowbert-wiki", "knowbert-wordnet"])
def test_the_loss_of_entity_linking_reads_nothing_back(recipe: str) -> None:
    """By the margin of Wikipedia's decision and by the softmax of WordNet's."""
    base = recipe.removeprefix("knowbert-")
    wide = {"raw_dim": 8, "class_dim": 4} if base == "wordnet" else {}
    system = small(recipe, bases={base: {"num_entities": 12, "entity_dim": 8, "span_ffn_dim": 8, **wide}})
    candidates = Candidates(
        spans=torch.tensor([[1, 2], [6, 6], [-1, -1]]),
        layout=SequenceLayout((1, 1, 1)),
        entities=torch.tensor([[5, 6], [7, 0], [0, 0]]),
        priors=torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 1.0]]),
        gold=torch.tensor([6, 7, 0]),
    )
    linking = EntityLinking(base)
    batch = linking.prepare(Inputs(text=texts(), candidates={base: candidates}))
    with simulated_cuda() as device:
        send(system)
        loss = linking.loss(system.train(), batch.to(CUDA))
    assert loss.device == CUDA and loss.requires_grad and not device.reads


def check(device: SimulatedCuda, loss: Tensor) -> None:
    assert loss.device == CUDA and loss.requires_grad
    assert len(device.operators) > 100
    assert not device.reads


def test_a_read_is_counted_where_it_is_made() -> None:
    with simulated_cuda() as device:
        numbers = torch.arange(3).to(CUDA)
        for read in (numbers.cpu, numbers.nonzero, numbers[0].item, numbers.unique):
            with pytest.raises(Exception, match=r"."):  # a simulated value cannot be given
                read()
                raise RuntimeError("its shape is known")
        assert len(device.reads) == 4
