"""Checkpoints are whole or absent, and say which file is damaged."""

from __future__ import annotations

import pickle
import threading

import pytest
import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, load_weights, read_weights, verify, write_weights
from mm_kptm.train.checkpoint import TRAINER, WEIGHTS, load_trainer
from tests.train.toy import Line


def state(step, best=None):
    sampler = {"seed": 0, "examples": 9, "batch_size": 2, "max_tokens": None, "epoch": 0, "position": step}
    return {"step": step, "sampler": sampler, "optimizer": {"state": {}}, "window": [0.5], "best": best}


def saved(folder, step=1, **kwargs):
    return Checkpoints(folder).save(Line().state_dict(), state(step, **kwargs), {"config.json": "{}"})


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_what_is_saved_comes_back(tmp_path):
    checkpoint = saved(tmp_path, step=3)
    assert checkpoint == Checkpoints(tmp_path).find("latest")
    verify(checkpoint)
    assert load_trainer(checkpoint) == state(3)
    model = Line()
    nn.init.zeros_(model.first.weight)
    load_weights(checkpoint, model)
    torch.testing.assert_close(model.state_dict(), Line().state_dict(), rtol=0, atol=0)
    assert (checkpoint / "config.json").read_text() == "{}"


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    model = Line()
    write_weights(model.state_dict(), tmp_path / "tied.safetensors")
    assert (tmp_path / "tied.safetensors").stat().st_size < 4 * sum(p.numel() for p in model.parameters()) + 1200
    weights = read_weights(tmp_path / "tied.safetensors")
    assert torch.equal(weights["tied.weight"], model.first.weight)
    assert weights.keys() == model.state_dict().keys()


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for i in range(8):
        write_weights(Line().state_dict(), tmp_path / f"{i}.safetensors")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_views_of_one_memory_are_stored_as_what_they_show(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    write_weights({"row": whole[1], "column": whole[:, 1], "whole": whole}, tmp_path / "views.safetensors")
    weights = read_weights(tmp_path / "views.safetensors")
    assert weights["row"].tolist() == [4, 5, 6, 7] and weights["column"].tolist() == [1, 5, 9]
    assert torch.equal(weights["whole"], whole)


def test_a_thread_writes_what_the_weights_were(tmp_path, monkeypatch):
    """It is held back until they have changed."""
    changed, model, memory = threading.Event(), Line(), torch.zeros(2)
    checkpoints = Checkpoints(tmp_path, background=True)
    checkpoints.do(changed.wait)
    state_then = {**state(3), "optimizer": {"first.weight": {"mean": memory}}}
    draft = checkpoints.draft(3)
    draft.mkdir(parents=True)
    final = checkpoints.finish(draft, model.state_dict(), state_then, {})
    with torch.no_grad():
        model.first.weight += 1
        memory += 1
    assert not final.exists()
    changed.set()
    checkpoints.wait()
    verify(final)
    weights = read_weights(final / WEIGHTS)
    assert torch.equal(weights["tied.weight"], weights["first.weight"]), "tied weights stay tied"
    assert torch.equal(weights["first.weight"], Line().first.weight) and checkpoints.find("latest") == final
    assert load_trainer(final)["optimizer"]["first.weight"]["mean"].tolist() == [0, 0]
    monkeypatch.setattr("mm_kptm.train.checkpoint.write_weights", lambda *_: {}["no space"])
    checkpoints.save(model.state_dict(), state(4), {})
    with pytest.raises(KeyError, match="no space"):
        checkpoints.wait()


@pytest.mark.parametrize("file", [WEIGHTS, TRAINER, "config.json"])
def test_a_damaged_file_is_named(tmp_path, file):
    checkpoint = saved(tmp_path)
    content = (checkpoint / file).read_bytes()
    (checkpoint / file).write_bytes(content[:-1])
    with pytest.raises(
        UserError, match=rf"{file} has {len(content) - 1} bytes where {len(content)} were written; name"
    ):
        verify(checkpoint)
    (checkpoint / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=rf"{file} is not what was written \(its checksum differs\)"):
        verify(checkpoint)
    (checkpoint / file).unlink()
    with pytest.raises(UserError, match=rf"{file} is missing; name another"):
        verify(checkpoint)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"model.safetensors": {}}'])
def test_a_checkpoint_without_its_manifest_is_not_trusted(tmp_path, text):
    checkpoint = saved(tmp_path)
    (checkpoint / "manifest.json").unlink()
    if text is not None:
        (checkpoint / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json is missing or unreadable"):
        verify(checkpoint)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    checkpoint = saved(tmp_path)

    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").write_text, ("x",))

    (checkpoint / TRAINER).write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(UserError, match=r"trainer.pt holds no state of a trainer"):
        load_trainer(checkpoint)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_kind_are_refused(tmp_path):
    (tmp_path / "weights").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="weights cannot be read as safetensors"):
        read_weights(tmp_path / "weights")
    with pytest.raises(UserError, match="absent cannot be read as safetensors"):
        read_weights(tmp_path / "absent")


def test_weights_of_another_model_are_refused_by_name_and_shape(tmp_path):
    checkpoint = saved(tmp_path)
    with pytest.raises(
        UserError, match=r"it lacks weight and has first.bias, first.weight, last.bias and 5 more besides"
    ):
        load_weights(checkpoint, nn.LayerNorm(4, bias=False))
    model = Line()
    model.last = nn.Linear(4, 2)
    with pytest.raises(UserError, match=r"last.bias is \[1\] there and \[2\] here"):
        load_weights(checkpoint, model)


def test_a_pointer_to_nothing_lists_what_is_there(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.find("latest") is None
    saved(tmp_path, step=2)
    (tmp_path / "checkpoints" / "latest").write_text("step-00000009\n")
    with pytest.raises(UserError, match="'step-00000009', which is not there; checkpoints that are: step-00000002"):
        checkpoints.find("latest")
    (tmp_path / "checkpoints" / "latest").write_text("../../elsewhere")
    with pytest.raises(UserError, match=r"names the checkpoint '\.\./\.\./elsewhere'"):
        checkpoints.find("latest")


def test_what_a_killed_process_left_is_swept_and_never_loaded(tmp_path):
    saved(tmp_path, step=1)
    draft = tmp_path / "checkpoints" / ".draft-step-00000002"
    draft.mkdir()
    (draft / WEIGHTS).write_bytes(b"half")
    (tmp_path / "checkpoints" / ".draft-latest").write_text("step-0")
    assert Checkpoints(tmp_path).find("latest").name == "step-00000001"
    saved(tmp_path, step=3)
    assert names(tmp_path) == ["latest", "step-00000001", "step-00000003"]


def test_a_failed_write_leaves_the_previous_checkpoint_in_force(tmp_path, monkeypatch):
    saved(tmp_path, step=1)
    monkeypatch.setattr("mm_kptm.io.manifest.seal", lambda draft: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saved(tmp_path, step=2)
    assert Checkpoints(tmp_path).find("latest").name == "step-00000001"
    assert "step-00000002" not in names(tmp_path)


def test_the_youngest_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 6):
        checkpoint = saved(tmp_path, step=step)
        if step == 2:
            checkpoints.point("best", checkpoint)
        checkpoints.prune(2)
    assert names(tmp_path) == ["best", "latest", "step-00000002", "step-00000004", "step-00000005"]
    assert checkpoints.find("best").name == "step-00000002"


def test_going_back_forgets_what_came_later(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.point("best", saved(tmp_path, step=step))
    checkpoints.rewind(2, {"value": 0.1, "step": 1})
    assert names(tmp_path) == ["best", "latest", "step-00000001", "step-00000002"]
    assert checkpoints.find("best").name == "step-00000001"
    checkpoints.rewind(2, None)
    assert checkpoints.find("best") is None


def test_going_back_removes_what_a_kill_left_of_a_removal(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        saved(tmp_path, step=step)
    (checkpoints.folder / ".draft-old-step-00000003").mkdir()
    (checkpoints.folder / ".draft-old-step-00000003" / "manifest.json").touch()
    checkpoints.rewind(2, None)
    assert [path.name for path in checkpoints.folder.glob(".*")] == []
    assert names(tmp_path) == ["latest", "step-00000001", "step-00000002"]


def test_a_step_reached_again_replaces_its_checkpoint(tmp_path):
    first = saved(tmp_path, step=1)
    (first / WEIGHTS).write_bytes(b"")
    verify(saved(tmp_path, step=1))
