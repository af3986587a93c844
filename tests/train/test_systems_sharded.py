"""Whatever the wiring of a system, sharding its weights changes nothing: two processes end where one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import experiment
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.nn.sublayers import Layer
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train import Checkpoints, TrainSettings, read_weights
from mm_kptm.train.parallel.sharded import units
from mm_kptm.train.protocol import module_of
from tests.train import launching

DATA = NumberWorldData(questions=60, eval_questions=10, languages=("en", "fr"))

TRANSLATIONS = replace(DATA, texts="translations")


def asked(name: str, recipe: str, **changes: object) -> Experiment:
    """Three steps of a small system; two layers where the published one has several."""
    published = mm_kptm.catalogue()[recipe].published_sizes()
    sizes = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "entity_dim": 8}
    sizes |= {size: 2 for size in published if size.startswith("num_") and size.endswith("layers")}
    settings = Experiment(
        name=name,
        task="vqa",
        encoder=EncoderSettings(recipe, {k: v for k, v in sizes.items() if k in published}, init_std=0.1),
        data=DATA,
        # a gradient that is zero but for rounding (that of a key's bias) must not be blown up to a step
        train=TrainSettings(steps=3, batch_size=7, lr=1e-2, eps=1e-2, log_every=1),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


EXPERIMENTS = {
    settings.name: settings
    for settings in (
        asked("regions-in-a-row", "uniter-base"),
        asked("two-streams", "lxmert-base"),
        asked("sentences", "bert-base", task="parallel-sentences"),
        asked("puzzles-beside", "uniter-base", objectives={"masked-tokens": 0.5}),
        asked("languages", "xlm-15", task=None, objectives={"masked-tokens": 1.0}, data=TRANSLATIONS),
        asked("sentence-tree", "uniter-base", task="knowledge-vqa", knowledge=KnowledgeSettings("sentence-tree")),
        asked("entity-fusion", "uniter-base", task="knowledge-vqa", knowledge=KnowledgeSettings("entity-fusion")),
        asked("candidates", "uniter-base", task="knowledge-vqa", knowledge=KnowledgeSettings("kar")),
        asked("side-adapter", "uniter-base", task="knowledge-vqa", knowledge=KnowledgeSettings("side-adapter")),
        asked("knowledge-embedding", "uniter-base", task="knowledge-vqa",
              knowledge=KnowledgeSettings("knowledge-embedding")),
    )
}  # fmt: skip


def train(folder: str, parallel: str, accumulate: int) -> None:
    for settings in EXPERIMENTS.values():
        settings = replace(
            settings, train=replace(settings.train, parallel=parallel, gradient_accumulation_steps=accumulate)
        )
        experiment.train(settings, Path(folder) / settings.name, progress=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {way: tmp_path_factory.mktemp(way) for way in ("auto", "fsdp")}
    for way, processes in (("auto", 1), ("fsdp", 2)):
        # two parts a step either way, for masks and dropout are drawn part by part
        assert launching.start(train, processes, str(found[way]), way, 3 - processes) == [0] * processes
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_two_processes_with_sharded_weights_end_where_one_does(folders, name):
    whole, sharded = (
        read_weights(Checkpoints(folders[way] / name).find("latest") / "model.safetensors") for way in ("auto", "fsdp")
    )
    torch.testing.assert_close(sharded, whole, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_most_weights_are_put_together_layer_by_layer(name):
    """Each layer's weights are there only while it computes.

    No units are a fused layer, which is entered in parts, and one that stands in no list but in a part of its own.
    """
    model = module_of(build(EXPERIMENTS[name]).model)
    layers = [module for at, module in model.named_modules() if isinstance(module, Layer) and not at.endswith(".read")]
    inside = {module for unit in units(model) for module in unit.modules()}
    assert layers and all((layer in inside) == (name != "entity-fusion") for layer in layers)
