"""Objectives with data of their own stand beside those that read the labels of the task."""

from dataclasses import replace

import pytest

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.comparison import compare
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData

DATA = NumberWorldData(
    split="joint", questions=12, eval_questions=4, numbers=10, sizes=(2,), types=("colour", "number"),
    relations=("owner",), facts_per_number=1, languages=("en", "de"),
)  # fmt: skip
SENTENCES = NumberWorldData(
    questions=12, eval_questions=4, numbers=10, languages=("en", "de"), topics=("colour", "owner"), texts="translations"
)
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 16, "dropout": 0.0}
EXPERIMENT = Experiment(
    "three",
    EncoderSettings("uniter-base", SIZES),
    DATA,
    task="knowledge-vqa",
    knowledge=KnowledgeSettings("sentence-tree"),
    objectives={"bridge-entity": 0.5, "masked-tokens": 0.25, "translation-language-modeling": 0.25},
    objective_data=SENTENCES,
)


def test_labels_are_of_the_task_and_translations_of_other_data() -> None:
    built = build(EXPERIMENT)
    batch = built.training.batch(range(4), seeded(0))
    by_name = batch.batches.by_name
    assert set(by_name) == {"bridge-entity", "masked-tokens", "translation-language-modeling"}
    assert by_name["bridge-entity"].inputs is batch.examples.inputs
    assert by_name["masked-tokens"].inputs.regions is None
    loss = built.model.loss(batch)
    loss.backward()
    without = replace(batch.batches, by_name={name: by_name[name] for name in by_name if name != "bridge-entity"})
    bridge = built.model.objectives["bridge-entity"].loss(built.system, by_name["bridge-entity"])
    rest = built.model.loss(replace(batch, batches=without))
    assert float(loss.detach()) == pytest.approx(float((rest + 0.5 * bridge).detach()), rel=1e-4)


def test_a_design_that_is_not_full_is_refused_before_anything_is_trained(tmp_path: object) -> None:
    levels = {"graph": True, "picture": True}
    with pytest.raises(
        UserError, match=r"^a full factorial comparison has an arm for every combination of graph, pict"
    ):
        compare([replace(EXPERIMENT, factors=levels)], out=tmp_path, seeds=1, nulls=False)  # type: ignore[arg-type]


def test_a_task_that_is_only_measured_has_objectives_of_other_data_alone() -> None:
    data = replace(SENTENCES, texts="captions")
    weights = {"masked-tokens": 1.0, "translation-language-modeling": 1.0}
    measured = Experiment(
        "measured",
        EncoderSettings("xlm-15", {"dim": 8, "num_heads": 2, "num_layers": 1}),
        data,
        task="parallel-sentences",
        task_weight=0,
        objectives=weights,
        objective_data=SENTENCES,
    )
    assert set(build(measured).training.batch([0], seeded(0)).batches.by_name) == set(weights)
