"""Arms of Atlas's demonstration at each tier: models, data and number of steps.

One arm names drawings (``names``); three answer questions about flags and differ in the facts that hang from names of
countries: of tables drawn anew for every world (``facts-worlds``), of the real table (``facts-real``), or none
(``facts-none``). Facts are worded in the language of the question in training, and in another one in the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.suites.atlas.datasets.flag_settings import AtlasFlagsData
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS
from mm_kptm.train.settings import TrainSettings

NAMES = "names"
FACTS = ("facts-worlds", "facts-real", "facts-none")
SWAPPED = "test-swapped"
#: Facts injected in the test to arms that were trained with true ones, by split.
INJECTED_BY_SPLIT = {
    "test": "true",
    SWAPPED: "swapped, scored by them",
    "test-oracle": "only the one that is needed",
    "test-random": "random",
    "test-none": "none",
}


@dataclass(frozen=True)
class Bounds:
    """Bounds on the effects."""

    seen: float = 0.5  #: recall at 1 of seen concepts in a seen style, at least
    concepts: float = 5.0  #: recall at 10 of held-out concepts over chance, at least
    parallel: float = 4.0  #: recall at 1 in languages that names alone brought near over chance, at least
    follows: float = 0.8  #: share of swapped facts followed after training in many worlds, at least
    fixed: float = 0.3  #: the same after training on the real table, at most
    small: bool = False  #: whether an effect below its bound says that the tier is too small to show it


@dataclass(frozen=True)
class Tier:
    """Size of a demonstration: seeds, data, steps and models."""

    name: str
    seeds: int
    names_data: AtlasData
    flags_data: AtlasFlagsData
    names_steps: int
    facts_steps: int
    image: Mapping[str, Any]  #: of the image tower
    dim: int = 128  #: of the joint space
    bounds: Bounds = Bounds()


def tiers() -> dict[str, Tier]:
    """Every tier by name; the data are opened here and not when the module is imported."""
    names = AtlasData(
        languages=("en", "de", "zh"), parallel_languages=("fr", "es", "ru", "ar", "ja", "sw"), image_size=32
    )
    flags = AtlasFlagsData(split="joint", languages=("en", "de"), territories=16, num_name_questions=10000)
    conv = {"backbone": "test_resnet"}
    listed = (
        Tier(
            name="tiny",
            seeds=1,
            names_data=replace(names, image_size=16),
            flags_data=replace(flags, questions=2000, eval_questions=100, num_name_questions=500),
            names_steps=40,
            facts_steps=30,
            image={"patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
            dim=32,
            bounds=Bounds(small=True),
        ),
        Tier("demo", 3, names, flags, names_steps=1000, facts_steps=900, image=conv),
        Tier(
            "paper",
            5,
            AtlasData(),
            replace(flags, languages=("en", "de", "zh", "ru", "ar"), territories=120, questions=40000),
            names_steps=6000,
            facts_steps=6000,
            image=conv,
        ),
    )  # fmt: skip
    return {tier.name: tier for tier in listed}


def experiments(tier: Tier, seed: int, out: Path) -> dict[str, Experiment]:
    """Experiments of a tier with one seed, by arm."""
    arms = {NAMES: _naming(tier, seed, out)}
    for name in FACTS:
        graph: Literal["worlds", "true"] = "true" if name == "facts-real" else "worlds"
        injected: Literal["none", "true"] = "none" if name == "facts-none" else "true"
        arms[name] = _answering(tier, name, graph, injected, seed, out)
    return arms


def splits_of(arm: str) -> tuple[str, ...]:
    """The splits that an arm is measured on."""
    if arm == NAMES:
        return tuple(f"test-{split}" for split in SPLITS)
    return ("test",) if arm == "facts-none" else tuple(INJECTED_BY_SPLIT)


def _naming(tier: Tier, seed: int, out: Path) -> Experiment:
    text = {
        "recipe": "bert-base", "pooling": "mean", "dim": tier.dim, "num_layers": 1, "num_heads": 4,
        "ffn_dim": 2 * tier.dim, "dropout": 0.0, "max_positions": 40,
    }  # fmt: skip
    return Experiment(
        name=f"{NAMES}-seed-{seed}",
        task="contrastive-retrieval",
        data=tier.names_data,
        encoder=EncoderSettings(
            "dual-tower", sizes={"embed_dim": tier.dim, "image": dict(tier.image), "text": text}, init_std=None
        ),
        train=_train(tier.names_steps, 3e-3, seed),
        out=out,
    )


def _answering(
    tier: Tier, name: str, graph: Literal["worlds", "true"], injected: Literal["none", "true"], seed: int, out: Path
) -> Experiment:
    dim = 3 * tier.dim // 4
    return Experiment(
        name=f"{name}-seed-{seed}",
        task="knowledge-vqa",
        data=replace(tier.flags_data, graph=graph),
        encoder=EncoderSettings(
            "uniter-base",
            sizes={
                "dim": dim,
                "num_layers": 3,
                "num_heads": 4,
                "ffn_dim": 4 * dim,
                "max_positions": 64,
                "dropout": 0.0,
            },
            init_std=0.1,
        ),
        knowledge=KnowledgeSettings("sentence-tree", injected),
        train=replace(_train(tier.facts_steps, 1.5e-3, seed), betas=(0.9, 0.98), schedule="wsd", decay_fraction=0.4),
        out=out,
    )


def _train(steps: int, lr: float, seed: int) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        batch_size=128,
        lr=lr,
        log_every=max(1, steps // 50),
        save_every=max(1, steps // 4),
        keep_last=1,
        seed=seed,
    )
