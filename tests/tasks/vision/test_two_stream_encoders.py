"""ViLBERT, 12-in-1 and VOLTA's models on tasks of Number World: eight examples are learnt by each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train.settings import TrainSettings
from tests.vision.small import DRY, EMBEDDINGS

SMALL: dict[str, Any] = {"dim": 64, "num_heads": 2, "ffn_dim": 128, **DRY}
VILBERT = {"num_layers": 2, "region_states": 48, "region_heads": 2, "num_region_layers": 1, "region_ffn_dim": 64}
VILBERT |= {"cross_dim": 32, "cross_heads": 2, "num_cross_layers": 1}
SCHEDULES = {"lxmert": "tt+vv t+v tv+vt= tt+vv t+v", "vilbert": "tt t tv+vt t+v tt+vv t+v"}
SYSTEMS = {
    "vilbert-base": VILBERT,
    "12-in-1": VILBERT,
    **{
        f"volta-{embedding}": {
            "schedule": SCHEDULES.get(embedding, "tt+tv+vt+vv= t+v= tt+tv+vt+vv= t+v="),
            "pooled_dim": 32,
            "box_frequencies": 4,
        }
        for embedding in EMBEDDINGS
    },
}
ASKED = [
    *((name, "vqa") for name in SYSTEMS),
    *((name, task) for name in ("12-in-1", "volta-uniter") for task in ("retrieval", "grounding")),
]


@pytest.mark.parametrize(("name", "task"), ASKED)
def test_eight_examples_are_learnt(name: str, task: str) -> None:
    settings = Experiment(
        name="eight",
        task=task,
        encoder=EncoderSettings(name, sizes={**SMALL, **SYSTEMS[name]}, init_std=0.1),
        data=NumberWorldData(questions=8, eval_questions=8, candidate_pool_size=4, languages=("en", "de")),
        train=TrainSettings(seed=1),
    )
    built = build(settings)
    model, source = built.model, built.source("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    losses = []
    for step in range(150):
        loss = model.loss(source.batch(range(8), seeded(0, step % 4)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.05 * losses[0]:
            break
    assert losses[-1] < 0.1 * losses[0]
    rows = model.predictions(built.source("dev"), batch_size=3)
    assert rows and all(0 <= row["correct"] <= 1 for row in rows)
