"""Arms of the demonstration at each tier: models, data and number of steps.

Eight arms in three groups. Within a group the encoder, its size, its initial weights and the number of steps are the
same, and one factor varies: the image (``vqa-*``), the injected facts (``facts-*``), or whether sentences come with
their translations (``text-*``). The ``facts-*`` arms start from the weights of ``vqa-true``, which already recognises
numbers and colours, so that they learn to use facts; some visual questions remain in their training. As in the
fine-tuning of a published checkpoint, all seeds start from the same weights, those of the first seed: whether a model
learns to map images to names depends on the initial weights much more than on the fine-tuning seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings, Size
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.train.settings import TrainSettings

START = "vqa-true"  #: arm whose weights initialise the ``facts-*`` arms, ...
FIRST_SEED = 0  #: ... with this seed, whatever their own
VISION: Mapping[str, Literal["true", "blank", "shuffled"]] = {
    "vqa-true": "true", "vqa-blank": "blank", "vqa-shuffled": "shuffled",
}  # fmt: skip
FACTS = ("facts-worlds", "facts-fixed", "facts-none")
TEXTS: Mapping[str, Literal["sentences", "translations"]] = {"text-mlm": "sentences", "text-tlm": "translations"}
SWAPPED_SPLIT = "test-swapped"
#: Facts injected at test time into an arm trained with true facts, by split.
INJECTED_BY_SPLIT = {
    "test": "true",
    "test-oracle": "only the one that is needed",
    "test-random": "random",
    "test-none": "none",
}


@dataclass(frozen=True)
class Bounds:
    """Bounds on the effects, as shares."""

    vision: float = 0.5  #: accuracy with vision minus that with blank or shuffled images, at least
    follows: float = 0.8  #: share of swapped facts followed after training in many worlds, at least
    fixed: float = 0.3  #: the same after training on one graph, at most
    translation: float = 0.25  #: retrieval accuracy with TLM minus that with MLM alone, at least
    null: float = 0.05  #: distance of a null arm from the model-free baseline, at most
    small: bool = False  #: whether an effect below its bound says that the tier is too small to show it


@dataclass(frozen=True)
class Tier:
    """Size of a demonstration: seeds, data, steps and model."""

    name: str
    seeds: int
    vision_data: NumberWorldData  #: of the ``vqa-*`` arms
    facts_data: NumberWorldData  #: of the ``facts-*`` arms
    text_data: NumberWorldData  #: of the ``text-*`` arms
    vqa_steps: int
    facts_steps: int
    text_steps: int
    bounds: Bounds = Bounds()
    dim: int = 96
    layers: int = 3


_VISION_DATA = NumberWorldData(questions=20000, numbers=20, sizes=(2, 3), languages=("en",), types=("colour", "number"))
_FACTS_DATA = replace(
    _VISION_DATA, split="world", relations=("owner",), facts_per_number=1, num_perception_questions=10000
)
_TEXT_DATA = NumberWorldData(
    questions=700,
    eval_questions=90,
    numbers=24,
    languages=("en", "de", "fr"),
    topics=("colour", "owner", "guild", "home"),
    mask_rate=0.4,
)

TIERS: Mapping[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier(
            name="tiny",
            seeds=1,
            vision_data=replace(_VISION_DATA, questions=2000, eval_questions=400, numbers=10, sizes=(2,)),
            facts_data=replace(
                _FACTS_DATA, questions=2000, eval_questions=200, numbers=10, sizes=(2,), num_perception_questions=1000
            ),
            text_data=replace(_TEXT_DATA, questions=300, eval_questions=40),
            vqa_steps=150,
            facts_steps=30,
            text_steps=30,
            bounds=Bounds(vision=0.1, null=0.08, small=True),
            dim=64,
            layers=2,
        ),
        Tier(
            name="demo",
            seeds=1,
            vision_data=_VISION_DATA,
            facts_data=_FACTS_DATA,
            text_data=_TEXT_DATA,
            vqa_steps=500,
            facts_steps=700,
            text_steps=1600,
        ),
        Tier(
            name="paper",
            seeds=5,
            vision_data=replace(_VISION_DATA, questions=40000, eval_questions=2000, numbers=100, languages=LANGUAGES),
            facts_data=replace(
                _FACTS_DATA,
                questions=40000,
                eval_questions=2000,
                numbers=100,
                languages=LANGUAGES,
                num_perception_questions=20000,
            ),
            text_data=replace(_TEXT_DATA, questions=2000, eval_questions=300, numbers=100, languages=LANGUAGES),
            vqa_steps=3000,
            facts_steps=3000,
            text_steps=4000,
        ),
    )
}


def experiments(tier: Tier, seed: int, out: Path) -> dict[str, Experiment]:
    """Experiments of a tier with one seed, by arm."""
    arms: dict[str, Experiment] = {}
    for name, vision in VISION.items():
        data = replace(tier.vision_data, vision=vision)
        arms[name] = _answering(tier, name, "vqa", data, _with_plateau(tier.vqa_steps, 1e-3, seed), out)
    for name in FACTS:
        data = replace(tier.facts_data, graph="fixed" if name == "facts-fixed" else "worlds")
        arm = _answering(tier, name, "knowledge-vqa", data, _with_plateau(tier.facts_steps, 1.5e-3, seed), out)
        injected: Literal["none", "true"] = "none" if name == "facts-none" else "true"
        encoder = replace(arm.encoder, sizes={}, weights=out / f"{START}-seed-{FIRST_SEED}" / "model")
        arms[name] = replace(arm, encoder=encoder, knowledge=KnowledgeSettings("sentence-tree", injected))
    for name, texts in TEXTS.items():
        arms[name] = Experiment(
            name=f"{name}-seed-{seed}",
            encoder=EncoderSettings("xlm-15", sizes=_sizes(tier) | {"num_layers": 2}, init_std=None),
            data=replace(tier.text_data, texts=texts),
            objectives={"masked-tokens": 1.0},
            train=replace(_train(tier.text_steps, 3e-3, seed), max_tokens=1100),
            out=out,
        )
    return arms


def _answering(tier: Tier, name: str, task: str, data: NumberWorldData, train: TrainSettings, out: Path) -> Experiment:
    return Experiment(
        name=f"{name}-seed-{train.seed}",
        task=task,
        encoder=EncoderSettings("uniter-base", sizes=_sizes(tier) | {"num_layers": tier.layers}, init_std=0.1),
        data=data,
        train=train,
        out=out,
    )


def _sizes(tier: Tier) -> dict[str, Size]:
    return {"dim": tier.dim, "num_heads": 4, "ffn_dim": 4 * tier.dim, "max_positions": 64, "dropout": 0.0}


def _with_plateau(steps: int, lr: float, seed: int) -> TrainSettings:
    """Training settings with a constant rate for 60 % of the steps: seeds differ in when a model starts to learn."""
    return replace(_train(steps, lr, seed), schedule="wsd", decay_fraction=0.4)


def _train(steps: int, lr: float, seed: int) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        batch_size=128,
        lr=lr,
        betas=(0.9, 0.98),
        log_every=max(1, steps // 50),
        save_every=max(1, steps // 4),
        keep_last=1,
        seed=seed,
    )
