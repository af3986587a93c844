"""Compiled layers train to the loss of eager ones, with one graph for each class whatever the lengths in a batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import mm_kptm
from mm_kptm import experiment
from mm_kptm.batch import SequenceLayout
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.nn.ragged import masked_self_attention_layout
from mm_kptm.nn.visibility import Branches
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train import compilation
from mm_kptm.train.compilation import compiled_layers
from mm_kptm.train.layers import layers_of
from mm_kptm.train.settings import TrainSettings

SIZES: dict[str, Any] = {"num_layers": 2, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}


@pytest.fixture(autouse=True)
def without_inductor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are captured and differentiated as always, and run by the eager operators of torch."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.compiler.reset()
    counters.clear()
    compilation.compiled.cache_clear()
    yield
    torch.compiler.reset()
    compilation.compiled.cache_clear()


def lengths(seed: int) -> SequenceLayout:
    generator = torch.Generator().manual_seed(seed)
    return SequenceLayout(tuple(torch.randint(1, 9, (5 + seed,), generator=generator).tolist()))


@pytest.mark.parametrize("tree", [False, True])
def test_twelve_layouts_are_one_graph_forward_and_backward(tree: bool) -> None:
    layers = layers_of(mm_kptm.build("bert-base", vocab_size=9, **SIZES))
    with compiled_layers(nn.ModuleList(layers)):
        for seed in range(12):
            layout = lengths(seed)
            numbers = torch.arange(layout.total)
            reading = masked_self_attention_layout(layout, Branches(numbers // 3, numbers % 3) if tree else None)
            x = torch.randn(layout.total, 16, requires_grad=True)
            out = x
            for layer in layers:
                out = layer(out, reading)
            out.sum().backward()
            assert x.grad is not None
    assert counters["stats"]["unique_graphs"] == 1, "the layers and the twelve layouts share one graph"
    assert counters["aot_autograd"]["ok"] == 1, "which is differentiated once"
    assert not counters["graph_break"]


def test_some_rows_are_a_graph_of_their_own_for_all_layouts() -> None:
    layer, *_ = layers_of(mm_kptm.build("bert-base", vocab_size=9, **SIZES))
    with compiled_layers(nn.ModuleList([layer])):
        for seed in range(12):
            layout = lengths(seed)
            whole = masked_self_attention_layout(layout, None)
            narrow = whole.restrict_queries(layout.starts(torch.device("cpu")))
            layer(torch.randn(layout.total, 16, requires_grad=True), narrow).sum().backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def losses(settings: Experiment) -> list[float]:
    experiment.train(settings, settings.folder, progress=False)
    lines = (settings.folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines if json.loads(line)["split"] == "train"]


VQA = Experiment(
    name="questions",
    task="vqa",
    encoder=EncoderSettings("uniter-base", SIZES, init_std=0.1),
    data=NumberWorldData(questions=60, eval_questions=4, numbers=20, languages=("en",)),
    train=TrainSettings(steps=6, batch_size=8, lr=1e-3, log_every=1, warmup=0.0),
)
RUNS = {
    "vqa": VQA,
    "mlm": replace(
        VQA,
        task=None,
        encoder=EncoderSettings("bert-base", SIZES, init_std=0.1),
        objectives={"masked-tokens": 1.0},
        data=replace(VQA.data, texts="sentences"),
    ),
    "tree": replace(VQA, task="knowledge-vqa", knowledge=KnowledgeSettings("sentence-tree", "true")),
    "two streams": replace(
        VQA,
        encoder=EncoderSettings(
            "lxmert", {**SIZES, "num_layers": 1, "num_region_layers": 1, "num_cross_layers": 1}, init_std=0.1
        ),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "two streams")) for name in RUNS]
)
def test_a_compiled_run_has_the_loss_of_an_eager_one(name: str, tmp_path: Path) -> None:
    eager = replace(RUNS[name], out=tmp_path / "eager")
    compiled = replace(eager, out=tmp_path / "compiled", train=replace(eager.train, compile=True))
    plain = losses(eager)
    assert not counters["stats"]["unique_graphs"]
    assert losses(compiled) == pytest.approx(plain, abs=1e-5)
    assert len(plain) == 6
    assert counters["stats"]["unique_graphs"] >= 1


def test_a_layer_goes_with_its_settings_and_is_left_as_it_was() -> None:
    encoder = mm_kptm.build("bert-base", vocab_size=9, **SIZES).encoder
    with compiled_layers(encoder, enabled=False):
        assert all("forward" not in vars(module) for module in encoder.modules())
    with compiled_layers(encoder):
        assert sum("forward" in vars(module) for module in encoder.modules()) == 2
    assert all("forward" not in vars(module) for module in encoder.modules())
