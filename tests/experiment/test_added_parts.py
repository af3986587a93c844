"""A frozen encoder keeps the weights it was loaded with, while heads and added parts learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.experiment.api import fit, settings_of
from mm_kptm.experiment.build import Built, build

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "capital", "of", "is", "spain", "peru", "madrid", "lima"]
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": len(PIECES), "max_positions": 32}
ADDED = {"side-adapter": {"sets": ["facts"], "depths": [0, 1], "width": 8, "num_heads": 2, "ffn_dim": 8}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small sentence encoder with its vocabulary, four blanks and their graph."""
    monkeypatch.chdir(tmp_path)
    mm_kptm.save(mm_kptm.build("all-minilm-l6-v2", seed=1, heads=[], **SIZES), "encoder")
    Path("vocab.txt").write_text("\n".join(PIECES) + "\n")
    facts = [("spain", "madrid"), ("peru", "lima")]
    lines = [
        {"text": f"the capital of {one} is [MASK]", "answer": city, "subject": one, "relation": "capital"}
        for one, city in facts
    ]
    Path("blanks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines * 4))
    Path("graph.tsv").write_text("".join(f"{one}\tcapital\t{city}\n" for one, city in facts))
    return tmp_path


def experiment(**encoder: Any) -> dict[str, Any]:
    return {
        "name": "frozen",
        "task": "cloze",
        "data": {
            "name": "custom-text", "train": "blanks.jsonl", "test": "blanks.jsonl", "vocabulary": "vocab.txt",
            "graph": "graph.tsv",
        },
        "knowledge": {"kind": "sentence-tree"},
        "encoder": {"recipe": "all-minilm-l6-v2", "weights": "encoder", "frozen": True, **encoder},
        "train": {"steps": 3, "batch_size": 4, "lr": 1e-2},
    }  # fmt: skip


def trained(built: Built) -> set[str]:
    return {name for name, one in built.system.named_parameters() if one.requires_grad}


def test_only_the_head_and_what_is_added_learn(folder: Path) -> None:
    assert {name.split(".")[0] for name in trained(build(settings_of(experiment())))} == {"heads"}
    with_adapter = trained(build(settings_of(experiment(added=ADDED))))
    assert {name.split(".")[0] for name in with_adapter} == {"heads", "encoder"}
    assert {name.split(".")[1] for name in with_adapter if name.startswith("encoder.")} == {"sides", "fusion"}


def test_a_run_leaves_the_encoder_as_it_was_and_goes_on_from_its_folder(folder: Path) -> None:
    fit(experiment(added=ADDED), progress=False)
    before = mm_kptm.load("encoder").encoder.state_dict()
    saved = mm_kptm.load(str(Path("runs") / "frozen" / "model"))
    after = {name.removeprefix("encoder."): value for name, value in saved.encoder.state_dict().items()}
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    again = experiment(weights="runs/frozen/model", added=ADDED)
    built = build(settings_of(again))
    adapters = {name: one for name, one in saved.named_parameters() if ".sides." in name}
    ours = dict(built.system.named_parameters())
    assert adapters and all(torch.equal(ours[name], one) for name, one in adapters.items())
