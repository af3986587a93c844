"""The arms of the demonstration: what is trained, on what, for how long, at each tier.

Eight arms in three groups. Within a group the encoder, its size, its fresh weights and the number of steps are the
same, and one thing differs: what is shown (``vqa-*``), which facts are told (``facts-*``), or whether the sentences
stand beside their translations (``text-*``). The ``facts-*`` arms begin with the weights of ``vqa-true``, which can
already read numbers and colours, so that what they learn is to use a fact; a share of questions about what is seen
stays in their training. As a published checkpoint is fine-tuned with several seeds, all seeds begin with the weights of
the first: whether the way from a picture to a name is found depends on the start, hardly on the seed after it.
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

START = "vqa-true"  #: the arm whose weights the ``facts-*`` arms begin with, ...
FIRST_SEED = 0  #: ... those of this seed, whatever their own
VISION: Mapping[str, Literal["true", "blank", "shuffled"]] = {
    "vqa-true": "true", "vqa-blank": "blank", "vqa-shuffled": "shuffled",
}  # fmt: skip
FACTS = ("facts-worlds", "facts-fixed", "facts-none")
TEXTS: Mapping[str, Literal["sentences", "translations"]] = {"text-mlm": "sentences", "text-tlm": "translations"}
TOLD_OTHERS = "test-swapped"
#: What an arm trained on true facts is told when it is measured, by split.
TOLD_INSTEAD = {
    "test": "true",
    "test-oracle": "only the one that is needed",
    "test-random": "random",
    "test-none": "none",
}


@dataclass(frozen=True)
class Bounds:
    """What the effects must reach, as shares; None where a tier is too small to claim anything."""

    vision: float = 0.5  #: answers right with vision, over those without and those with another scene
    follows: float | None = 0.8  #: swapped facts followed after training in many worlds
    fixed: float = 0.3  #: at most, after training on one graph
    translation: float | None = 0.25  #: translations found with TLM over those with MLM alone
    null: float = 0.05  #: at most, between a null arm and what is computed without a model


@dataclass(frozen=True)
class Tier:
    """How much of everything."""

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


_SEEN = NumberWorldData(questions=20000, numbers=20, sizes=(2, 3), languages=("en",), types=("colour", "number"))
_TOLD = replace(_SEEN, split="world", relations=("owner",), facts_per_number=1, num_perception_questions=10000)
_SAID = NumberWorldData(
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
            vision_data=replace(_SEEN, questions=2000, eval_questions=400, numbers=10, sizes=(2,)),
            facts_data=replace(
                _TOLD, questions=2000, eval_questions=200, numbers=10, sizes=(2,), num_perception_questions=1000
            ),
            text_data=replace(_SAID, questions=300, eval_questions=40),
            vqa_steps=150,
            facts_steps=30,
            text_steps=30,
            bounds=Bounds(vision=0.1, follows=None, translation=None, null=0.08),
            dim=64,
            layers=2,
        ),
        Tier(
            name="demo",
            seeds=1,
            vision_data=_SEEN,
            facts_data=_TOLD,
            text_data=_SAID,
            vqa_steps=500,
            facts_steps=700,
            text_steps=1600,
        ),
        Tier(
            name="paper",
            seeds=5,
            vision_data=replace(_SEEN, questions=40000, eval_questions=2000, numbers=100, languages=LANGUAGES),
            facts_data=replace(
                _TOLD,
                questions=40000,
                eval_questions=2000,
                numbers=100,
                languages=LANGUAGES,
                num_perception_questions=20000,
            ),
            text_data=replace(_SAID, questions=2000, eval_questions=300, numbers=100, languages=LANGUAGES),
            vqa_steps=3000,
            facts_steps=3000,
            text_steps=4000,
        ),
    )
}


def experiments(tier: Tier, seed: int, out: Path) -> dict[str, Experiment]:
    """Every arm of a tier with one seed, by its name."""
    arms: dict[str, Experiment] = {}
    for name, vision in VISION.items():
        data = replace(tier.vision_data, vision=vision)
        arms[name] = _answering(tier, name, "vqa", data, _held(tier.vqa_steps, 1e-3, seed), out)
    for name in FACTS:
        data = replace(tier.facts_data, graph="fixed" if name == "facts-fixed" else "worlds")
        arm = _answering(tier, name, "knowledge-vqa", data, _held(tier.facts_steps, 1.5e-3, seed), out)
        told: Literal["none", "true"] = "none" if name == "facts-none" else "true"
        started = replace(arm.encoder, sizes={}, weights=out / f"{START}-seed-{FIRST_SEED}" / "model")
        arms[name] = replace(arm, encoder=started, knowledge=KnowledgeSettings("sentence-tree", told))
    for name, texts in TEXTS.items():
        arms[name] = Experiment(
            name=f"{name}-seed-{seed}",
            encoder=EncoderSettings("xlm-15", sizes=_sizes(tier) | {"num_layers": 2}),
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


def _held(steps: int, lr: float, seed: int) -> TrainSettings:
    """When a model begins to use what it is shown differs between seeds; the rate must not have fallen by then."""
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
