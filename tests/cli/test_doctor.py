"""The doctor finds what is there and what is not."""

from __future__ import annotations

import json

import torch

from mm_kptm import cli
from mm_kptm.cli import doctor


def test_a_whole_installation_has_no_problems(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["devices"]["cpu"] == f"{torch.get_num_threads()} threads"
    assert found["problems"] == []


def test_what_is_missing_or_broken_is_a_problem(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "MATCHED", ("no_such_module",))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no-such-package is not installed" in out
    assert "no_such_module does not load (No module named 'no_such_module')" in out
    assert "something is wrong: see problems" in out
