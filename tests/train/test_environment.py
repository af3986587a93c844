"""The environment of a run says what its numbers may depend on, and nothing that is private."""

from __future__ import annotations

import json
import sys

import torch

from mm_kptm.train.environment import environment, write_environment


def test_the_environment_names_versions_machine_seed_and_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mm-kptm", "train", "vqa.yaml"])
    facts = environment(device=torch.device("cpu"), processes=2, parallel="fsdp", seed=5)
    assert facts["packages"]["torch"] == torch.__version__
    assert (facts["device"], facts["processes"], facts["parallel"], facts["seed"]) == ("cpu", 2, "fsdp", 5)
    assert facts["threads"] == torch.get_num_threads()
    assert facts["command"] == ["mm-kptm", "train", "vqa.yaml"]


def test_variables_and_paths_of_the_machine_stay_out(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t")
    text = json.dumps(environment(device=torch.device("cpu"), processes=1, parallel="one process", seed=0))
    assert "s3cr3t" not in text and sys.prefix not in text


def test_outside_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert environment(device=torch.device("cpu"), processes=1, parallel="one process", seed=0)["commit"] is None


def test_a_resumed_run_keeps_what_it_began_with(tmp_path):
    write_environment(tmp_path, {"seed": 1}, resumed_at=None)
    write_environment(tmp_path, {"seed": 1, "threads": 2}, resumed_at=7)
    write_environment(tmp_path, {"seed": 1, "threads": 4}, resumed_at=9)
    assert json.loads((tmp_path / "environment.json").read_text()) == {
        "seed": 1,
        "resumed": [{"step": 7, "seed": 1, "threads": 2}, {"step": 9, "seed": 1, "threads": 4}],
    }
