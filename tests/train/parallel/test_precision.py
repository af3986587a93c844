"""In 16 bits, several processes leave out the same steps, and shards end where replicas do."""

from __future__ import annotations

from pathlib import Path

import torch

from mm_kptm.train import Checkpoints, TrainSettings, fit, read_weights
from mm_kptm.train.checkpoint import load_trainer
from tests.train import launching
from tests.train.toy import Deep, PointSource

SETTINGS = {"steps": 6, "batch_size": 8, "lr": 0.01, "eps": 1e-2, "precision": "fp16", "layer_decay": 0.8}


def train(folder: str) -> None:
    for way, again in (("ddp", False), ("fsdp", True)):
        settings = TrainSettings(**SETTINGS, parallel=way, activation_checkpointing=again)
        fit(Deep(), PointSource(60), settings, Path(folder) / way, progress=False)


def test_shards_in_fp16_end_where_replicas_do(tmp_path):
    assert launching.start(train, 2, str(tmp_path)) == [0, 0]
    ends = [Checkpoints(tmp_path / way).named("last") for way in ("ddp", "fsdp")]
    states = [load_trainer(end)["scaler"] for end in ends]
    assert states[0] == states[1] and states[0]["scale"] < 2.0**16, "a step was left out"
    weights = [read_weights(end / "model.safetensors") for end in ends]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-5)
