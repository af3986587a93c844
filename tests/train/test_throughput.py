"""The log says how fast a run is and how much of the device it uses; a profile says where the time goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm.batch import SequenceLayout
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.train.layers import layers_of
from mm_kptm.train.profiling import TRACE
from mm_kptm.train.settings import TrainSettings
from mm_kptm.train.throughput import Throughput, peak_flops
from tests.train.test_loop import run
from tests.train.toy import Deep


def test_flops_are_those_of_the_matrix_products_of_the_layers() -> None:
    system = mm_kptm.build("bert-base", dim=8, num_heads=2, num_layers=2, ffn_dim=32, vocab_size=9)
    speed = Throughput(torch.device("cpu"), TrainSettings(), peak=1e6)
    layout = SequenceLayout((3, 4))
    x = torch.randn(7, 8, requires_grad=True)
    with speed.counted(system):
        for layer in layers_of(system.train()):
            x = layer(x, self_attention_layout(layout))
        with torch.no_grad():  # what is not trained on does not count
            layers_of(system)[0](x, self_attention_layout(layout))
    assert speed._flops == 6 * 7 * 2 * (4 * 8 * 8 + 2 * 8 * 32)
    speed.add(7)
    found = speed.measures()
    assert found.keys() == {"rows_per_s", "mfu"}
    assert found["mfu"] > 0 and speed.measures()["mfu"] == 0


@pytest.mark.parametrize(
    ("name", "settings", "tflops"),
    [
        ("NVIDIA H200", TrainSettings(precision="bf16"), 989),
        ("NVIDIA H100 80GB HBM3", TrainSettings(tf32=True), 494),
        ("NVIDIA A100-SXM4-80GB", TrainSettings(), 19.5),
        ("Tesla T4", TrainSettings(precision="fp16"), 65),
        ("another", TrainSettings(), None),
    ],
)
def test_the_peak_is_that_of_the_device_and_the_precision(
    name: str, settings: TrainSettings, tflops: float | None
) -> None:
    found = peak_flops(name, settings)
    assert found is None if tflops is None else found == tflops * 1e12


def test_a_profile_of_some_steps_is_written(tmp_path: Path) -> None:
    run(tmp_path, model=Deep(), profile_steps=2)
    events = json.loads((tmp_path / TRACE).read_text())["traceEvents"]
    assert sum(event.get("name") == "aten::addmm" for event in events) > 0
    run(tmp_path / "none", model=Deep())
    assert not (tmp_path / "none" / TRACE).exists()
