"""What holds for every task that Number World feeds: it learns, reaches its weights and writes rows of one form."""

import json
from copy import deepcopy
from functools import cache

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import task_datasets
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.tasks.protocol import find
from mm_kptm.train.evaluation import evaluate
from mm_kptm.train.settings import TrainSettings

TASKS = [supply.task_name for supply in task_datasets() if supply.data is NumberWorldData and supply.task is not None]
TASKS.remove("contrastive-retrieval")  # of two towers; vision/test_contrastive_retrieval.py
TASKS.remove("minimal-pairs")  # the same; suites/number_world/datasets/test_minimal_pairs.py
ROW = {"id", "type", "language", "group", "answer", "target", "correct"}
SMALL = {"num_layers": 2, "dim": 64, "num_heads": 2, "ffn_dim": 128, "dropout": 0.0}


@cache
def built(task: str) -> Built:
    settings = Experiment(
        name="eight",
        task=task,
        encoder=EncoderSettings("uniter-base", sizes=SMALL, init_std=0.1),
        data=NumberWorldData(questions=8, eval_questions=8, candidate_pool_size=4, languages=("en", "de")),
        train=TrainSettings(seed=1),
    )
    return build(settings)


def test_every_task_of_the_issue_is_fed():
    assert {"retrieval", "grounding", "entailment", "entity-typing", "relation-classification"} <= set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_eight_examples_are_learnt_and_every_weight_is_reached(task):
    model, source = built(task).model, built(task).source("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    reached: set[str] = set()
    for step in range(150):
        loss = model.loss(source.batch(range(8), seeded(0, step % 4)))
        if step == 0:
            first = loss.item()
        optimizer.zero_grad()
        loss.backward()
        reached |= {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
        optimizer.step()
        if loss.item() < 0.01 * first:
            break
    assert loss.item() < 0.1 * first
    unread = {name for name, _ in model.named_parameters() if name not in reached}
    unpooled = {
        "grounding": ("pooler",),
        "parallel-sentences": ("pooler", "regions"),
        "cloze": ("pooler",),
        "captioning": ("pooler",),
        "nlvr2": ("pooler",),  # the head of UNITER reads all states
        "phrase-grounding": ("pooler",),
    }
    pooled = unpooled.get(task, ())
    spoken = () if "regions" in find(task).needs else ("regions",)
    assert not {name for name in unread if not any(part in name for part in (*pooled, *spoken, "regions.mask"))}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("task", TASKS)
def test_scores_that_are_not_finite_are_refused_and_never_ranked_first(task, value):
    model, source = deepcopy(built(task).model), built(task).source("dev")
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # reaches every head, and every state that is compared without one
            weight.data.fill_(value)
    for measured in (lambda: model.predictions(source, batch_size=4), lambda: evaluate(model, source, batch_size=4)):
        with pytest.raises(UserError, match=r"of .* are not finite \(the first is (nan|-?inf)\), so no answer"):
            measured()


@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_rows_of_one_form(task):
    model, source = built(task).model, built(task).source("dev")
    rows = model.predictions(source, batch_size=3)
    assert len(rows) >= len(source)
    assert len({row["id"] + row["type"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() >= ROW
        assert 0 <= row["correct"] <= 1
        assert json.loads(json.dumps(row)) == row
    alone = model.predictions(source, batch_size=len(source))
    assert [row["answer"] for row in alone] == [row["answer"] for row in rows]
    for name, value in model.summary(rows).items():
        assert 0 <= value <= (10 if name.startswith("cider") else 1), name
