"""Converting writes a whole folder or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm import cli

CASE = Path(__file__).parents[1] / "golden" / "data" / "bert" / "pretraining"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """An official checkpoint, tiny, with its published configuration."""
    monkeypatch.chdir(tmp_path)
    source = Path("official")
    source.mkdir()
    (source / "config.json").write_bytes((CASE / "config.json").read_bytes())
    (source / "model.safetensors").write_bytes((CASE / "weights.safetensors").read_bytes())
    return source


def test_a_converted_checkpoint_loads_with_the_same_weights(checkpoint, capsys):
    assert cli.main(["convert", "bert-base", str(checkpoint), "out/native"]) == 0
    assert capsys.readouterr().out == "out/native\n"
    ours, theirs = mm_kptm.load("out/native"), mm_kptm.load("bert-base", checkpoint)
    for (name, left), right in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(left, right), name
    assert [path.name for path in Path("out").iterdir()] == ["native"]


def test_a_dry_run_says_where_everything_goes_and_writes_nothing(checkpoint, capsys):
    assert cli.main(["convert", "bert-base", str(checkpoint), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    keys = load_file(checkpoint / "model.safetensors").keys()
    assert len(lines) == len(keys) + 1
    assert lines[-1].endswith("the checkpoint fits")
    assert any(" -> encoder.embed.text.word.weight" in line for line in lines)
    assert [path.name for path in Path().iterdir()] == ["official"]


def test_a_dry_run_names_what_does_not_fit(checkpoint, capsys):
    file = checkpoint / "model.safetensors"
    save_file(load_file(file) | {"bert.extra.weight": torch.zeros(2)}, file)
    assert cli.main(["convert", "bert-base", str(checkpoint), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert "bert.extra.weight has no rule" in out
    assert "no rule for published keys: bert.extra.weight" in err


def test_a_torn_checkpoint_leaves_nothing_behind(checkpoint, capsys):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert cli.main(["convert", "bert-base", str(checkpoint), "out"]) == 2
    assert "is no whole safetensors file" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["official"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["official"], "convert needs a folder to write, after the checkpoint; --dry-run does without"),
        (["official", "official"], "official exists already; name a folder that does not"),
    ],
)
def test_where_to_write_must_be_clear(checkpoint, capsys, arguments, sentence):
    assert cli.main(["convert", "bert-base", *arguments]) == 2
    assert capsys.readouterr().err == f"mm-kptm: {sentence}\n"
