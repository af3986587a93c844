"""Damaged weights are refused by every verb that reads them, in one sentence, before anything is measured."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

import mm_kptm
from mm_kptm import experiment, report
from mm_kptm.errors import UserError
from mm_kptm.experiment.comparison import compare
from mm_kptm.experiment.predict import predict, submit
from mm_kptm.experiment.run_state import settings_to_resume
from mm_kptm.experiment.visual.ask import ask_run
from mm_kptm.experiment.visual.explanations import explain
from mm_kptm.suites.search.model import open_model
from tests.experiment.test_run import tiny

LAST = "step-00000004"


def _at(share: float) -> Callable[[bytes], bytes]:
    """Flip one bit at a share of the file."""

    def flip(content: bytes) -> bytes:
        at = min(int(share * len(content)), len(content) - 1)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return flip


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


#: By name, what becomes of the content of the file; None removes it.
DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    **{f"bit flipped at {share}": _at(share) for share in (0.0, 0.0001, 0.001, 0.05, 0.2, 0.5, 0.8, 1.0)},
    **{f"cut at {share}": _cut(share) for share in (0.0, 0.0002, 0.01, 0.5, 0.99)},
    "a byte longer": lambda content: content + b"\0",
    "twice": lambda content: content * 2,
    "zeros": lambda content: bytes(len(content)),
    "a page of an error": lambda content: b"<html>404</html>",
    "a pointer of Git LFS": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "other weights": lambda content: save({"a": torch.zeros(2)}),
    "a pickle": lambda content: pickle.dumps(print),
    "a header of 2 to the 60": lambda content: (1 << 60).to_bytes(8, "little") + content[8:],
    "missing": None,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(tmp_path_factory.mktemp("runs"))
    experiment.train(settings, settings.folder, progress=False)
    experiment.evaluate(settings.folder)
    return settings.folder


def _picture(run: Path) -> Path:
    path = run.parent / "picture.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


#: What reads the weights of a run.
OF_RUNS: dict[str, Callable[[Path], object]] = {
    "train --resume": lambda run: experiment.train(settings_to_resume(run), run, resume=True, progress=False),
    "evaluate": experiment.evaluate,
    "predict": predict,
    "submit": submit,
    "report": lambda run: report.write([run], run.parent / "report.html"),
    "explain": lambda run: explain(run, out=run.parent / "explain.html"),
    "ask": lambda run: ask_run(run, _picture(run), "what?"),
    "search": lambda run: open_model(run),
}
#: What reads the weights of a saved folder.
OF_SAVED: dict[str, Callable[[Path], object]] = {
    "load": mm_kptm.load,
    "load NAME": lambda saved: mm_kptm.load("uniter-base", saved),
    "search": open_model,
    "encoder.weights": lambda saved: _trained_from(saved),
}


def _trained_from(saved: Path) -> object:
    settings = tiny(saved.parent / "next")
    return experiment.train(
        replace(settings, encoder=replace(settings.encoder, weights=saved, sizes={}, init_std=None)),
        settings.folder,
        progress=False,
    )


def test_there_are_22_kinds_of_damage() -> None:
    assert len(DAMAGES) == 22


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_of_a_run(finished: Path, tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    _damage(run / "checkpoints" / LAST / "model.safetensors", DAMAGES[damage])
    for name, use in OF_RUNS.items():
        with pytest.raises(UserError) as refused:
            use(run)
        if name != "search":  # which reads saved folders alone
            assert "model.safetensors" in str(refused.value), (name, refused.value)
    assert not (tmp_path / "explain.html").exists() and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_of_a_saved_folder(finished: Path, tmp_path: Path, damage: str) -> None:
    saved = tmp_path / "model"
    shutil.copytree(finished / "model", saved)
    _damage(saved / "model.safetensors", DAMAGES[damage])
    for name, use in OF_SAVED.items():
        with pytest.raises(UserError) as refused:
            use(saved)
        assert "model.safetensors" in str(refused.value), (name, refused.value)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_weights_of_a_comparison(tmp_path: Path, step: int) -> None:
    arms = [tiny(tmp_path, name="one")]
    compare(arms, tmp_path / "compared", seeds=1, nulls=False, workers=1)
    (weights,) = (tmp_path / "compared").glob("one-seed-0/checkpoints/step-*/model.safetensors")
    whole = weights.read_bytes()
    for damage in list(DAMAGES.values())[::step]:
        weights.write_bytes(whole)
        _damage(weights, damage)
        with pytest.raises(UserError, match=r"model\.safetensors"):
            compare(arms, tmp_path / "compared", seeds=1, nulls=False, workers=1)


def _damage(file: Path, change: Callable[[bytes], bytes] | None) -> None:
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
