"""Every system that has a dropout of attention weights in its published configuration is built with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mm_kptm
from mm_kptm.nn.attention import Attention

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
CASES = {
    "uniter": "uniter/vcr",
    "visualbert": "visualbert/flickr",
    "oscar": "oscar/captioning",
    "oscar-plus": "oscar/pretrain_plus",
    "vlp": "vlp/captioning",
    "pixel-bert": "pixel_bert/pretrain",
    "vl-bert": "vlbert/vcr",
}


@pytest.mark.parametrize("name", CASES)
def test_attention_weights_are_dropped_at_the_published_rate(name: str, tmp_path: Path) -> None:
    case = GOLDEN / CASES[name]
    shutil.copy(case / "weights.safetensors", tmp_path / "weights.safetensors")
    config: dict[str, Any] = json.loads((case / "config.json").read_text())
    fields = config["NETWORK"]["VLBERT"] if "NETWORK" in config else config
    fields |= {"attention_probs_dropout_prob": 0.3, "hidden_dropout_prob": 0.2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    system = mm_kptm.load(name, tmp_path)
    rates = {one.dropout for one in system.encoder.modules() if isinstance(one, Attention)}
    assert rates == {0.3} and system.sizes["dropout"] == 0.2
