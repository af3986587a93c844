"""A run is sealed and owned: damage is refused by every reader, edits do not win, one process at a time writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm import experiment, report
from mm_kptm.cli import main
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.experiment.predict import predict
from mm_kptm.experiment.run_state import settings_to_resume
from mm_kptm.io.lock import locked
from mm_kptm.train.checkpoint import Checkpoints
from tests.experiment.test_run import tiny

LAST = "step-00000004"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(tmp_path_factory.mktemp("runs"))
    experiment.train(settings, settings.folder, progress=False)
    experiment.evaluate(settings.folder)
    return settings.folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def flip(file: Path, at: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(bytes(content))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    file.write_bytes(b"")


READERS: dict[str, Callable[[Path], object]] = {
    "evaluate": experiment.evaluate,
    "predict": predict,
    "report": lambda run: report.write([run]),
    "resume": lambda run: experiment.train(settings_to_resume(run), run, resume=True, progress=False),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", [flip, cut, lengthen, empty, Path.unlink])
def test_damaged_weights_are_refused(run: Path, reader: str, damage: Callable[[Path], None]) -> None:
    damage(run / "checkpoints" / LAST / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors (is not what was written|has \d+ bytes where|is missing)"):
        READERS[reader](run)


@pytest.mark.parametrize("damage", [flip, cut, lengthen, empty])
def test_a_damaged_saved_folder_is_refused(run: Path, damage: Callable[[Path], None]) -> None:
    mm_kptm.load(run / "model")
    damage(run / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors (is not what was written|has \d+ bytes where)"):
        mm_kptm.load(run / "model")
    with pytest.raises(UserError, match=r"model.safetensors (is not what was written|has \d+ bytes where)"):
        mm_kptm.load("uniter-base", run / "model")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "is missing or unreadable"),
        ("{}", "manifest.json is empty, so nothing is verified"),
        ('{"config.yaml": {"bytes": 1, "sha256": "0"}}', "does not cover model.safetensors"),
        ('{"../x": {"bytes": 1, "sha256": "0"}}', "'../x' leaves the folder"),
        ('{"model.safetensors": {"bytes": -1, "sha256": "0"}}', "must be a whole number of 0 or more"),
        ("[1]", "must be an object"),
    ],
)
def test_a_manifest_that_covers_nothing_verifies_nothing(run: Path, manifest: str, message: str) -> None:
    (run / "checkpoints" / LAST / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=message):
        experiment.evaluate(run)


def test_a_file_that_was_put_into_a_checkpoint_is_refused(run: Path) -> None:
    (run / "checkpoints" / LAST / "shards").mkdir()
    (run / "checkpoints" / LAST / "shards" / "x.safetensors").write_text("x")
    with pytest.raises(UserError, match=r"x.safetensors is not in manifest.json"):
        experiment.evaluate(run)


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))


def test_an_edited_config_does_not_win(run: Path) -> None:
    before = experiment.evaluate(run)
    edit(run, "lr: 0.001", "lr: 0.5")
    with pytest.warns(UserNotice, match=r"train.lr is 0.5 there and was 0.001; the checkpoint's own settings are used"):
        assert experiment.evaluate(run) == before
    with pytest.raises(UserError, match=r"train.lr is 0.5 there and was 0.001; put it back from .*config.yaml, or"):
        settings_to_resume(run)


@pytest.mark.parametrize("text", ["", "name: cut\n", "\xff", "[[["])
def test_a_cut_config_is_refused(run: Path, text: str) -> None:
    (run / "config.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"config.yaml is not what the run began with"):
        settings_to_resume(run)


def test_a_lost_config_is_found_again(run: Path) -> None:
    began = settings_to_resume(run)
    (run / "config.yaml").unlink()
    assert settings_to_resume(run) == began


def test_a_moved_run_reads_its_paths_from_its_config(run: Path) -> None:
    edit(run, f"out: {settings_to_resume(run).out}", "out: elsewhere")
    assert settings_to_resume(run).out == Path("elsewhere")


def test_a_lost_pointer_is_found_again(run: Path) -> None:
    weights = (run / "checkpoints" / LAST / "model.safetensors").read_bytes()
    (run / "checkpoints" / "latest").unlink()
    assert Checkpoints(run).find("latest") == run / "checkpoints" / LAST
    experiment.train(settings_to_resume(run), run, resume=True, progress=False)
    assert (run / "checkpoints" / LAST / "model.safetensors").read_bytes() == weights


def test_the_newest_whole_checkpoint_is_taken_for_a_lost_pointer(run: Path) -> None:
    shutil.copytree(run / "checkpoints" / LAST, run / "checkpoints" / "step-00000009")
    flip(run / "checkpoints" / "step-00000009" / "trainer.pt")
    (run / "checkpoints" / "latest").unlink()
    assert Checkpoints(run).find("latest") == run / "checkpoints" / LAST
    flip(run / "checkpoints" / LAST / "trainer.pt")
    with pytest.raises(UserError, match=r"trainer.pt is not what was written"):
        Checkpoints(run).find("latest")


@pytest.mark.parametrize("name", ["data.json", "environment.json", "metrics.jsonl", "checkpoints/latest"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"{", b"[" * 100_000, b'{"a": NaN, "a": 1}', b"[1]", b"5" * 5000, b"\0"]
)
def test_state_is_read_or_refused(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    try:
        experiment.train(settings_to_resume(run), run, resume=True, progress=False)
    except UserError as error:
        assert Path(name).name in str(error)
    else:
        assert name == "metrics.jsonl"  # lines that are no measurement are dropped


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"a.py": 1}', '{"a.py": {}}', '{"a.py": {"path": [], "sha256": []}}', '{"a.py": null}']
)
def test_a_broken_record_of_plug_ins_is_refused(run: Path, content: str) -> None:
    (run / "plugins.json").write_text(content)
    with pytest.raises(UserError, match=r"plugins\.json"):
        experiment.evaluate(run)


@pytest.mark.parametrize("key", ["step", "sampler", "optimizer", "window", "best"])
def test_a_trainer_state_without_a_key_is_refused(run: Path, key: str) -> None:
    from mm_kptm.io.manifest import seal

    checkpoint = run / "checkpoints" / LAST
    state = torch.load(checkpoint / "trainer.pt", weights_only=True)
    del state[key]
    torch.save(state, checkpoint / "trainer.pt")
    seal(checkpoint)
    with pytest.raises(UserError, match=r"trainer.pt holds no state of a trainer"):
        experiment.train(settings_to_resume(run), run, resume=True, progress=False)


def test_weights_that_are_not_finite_are_not_measured(run: Path) -> None:
    from mm_kptm.io.manifest import seal
    from mm_kptm.train.checkpoint import read_weights, write_weights

    checkpoint = run / "checkpoints" / LAST
    weights = read_weights(checkpoint / "model.safetensors")
    name = next(name for name in weights if "norm" in name)
    weights[name][0] = np.nan
    write_weights(weights, checkpoint / "model.safetensors")
    seal(checkpoint)
    with pytest.raises(UserError, match="not finite"):
        experiment.evaluate(run)


@pytest.mark.parametrize("link", [".config.yaml.part", "checkpoints/.draft-latest", "predictions/test.jsonl.part"])
def test_links_in_a_run_folder_are_not_followed(run: Path, link: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    (run / link).symlink_to(victim)
    shutil.rmtree(run / "model")
    experiment.train(settings_to_resume(run), run, resume=True, progress=False)
    experiment.evaluate(run)
    assert victim.read_text() == "precious"


def test_a_link_in_place_of_the_metrics_is_refused(run: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious\n")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(UserError, match=r"metrics.jsonl is a link, but a run folder holds its files itself"):
        experiment.train(settings_to_resume(run), run, resume=True, progress=False)
    assert victim.read_text() == "precious\n"


def test_a_run_that_was_stopped_before_its_first_file_begins(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    settings.folder.mkdir()
    (settings.folder / ".config.yaml.0123.part").write_text("half")
    (settings.folder / ".lock").write_text("process 1 on another machine\n")
    with pytest.raises(UserError, match="was stopped before it began; begin it with"):
        settings_to_resume(settings.folder)
    experiment.train(settings, settings.folder, resume=True, progress=False)
    assert not list(settings.folder.glob(".*.part"))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A folder whose lock another process holds."""
    folder = tmp_path / "held"
    program = (
        "import sys; from pathlib import Path; from mm_kptm.io.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "held\n"
    yield folder
    process.kill()
    process.wait()


def test_a_second_writer_is_kept_out_and_told_who_writes(held: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the run folder .*held is being written by process \d+ on "):
        experiment.train(tiny(tmp_path), held, progress=False)


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from mm_kptm.io.lock import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")]).returncode == -9
    assert (tmp_path / "run" / ".lock").is_file()
    with locked(tmp_path / "run"):
        pass


def test_a_folder_with_nothing_but_its_lock_is_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        assert os.listdir(tmp_path / "run") == [".lock"]
    assert not (tmp_path / "run").exists()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "config.yaml").write_text("x")
    assert sorted(os.listdir(tmp_path / "run")) == [".lock", "config.yaml"]
    with locked(tmp_path / "run"):  # a leftover lock file locks nothing
        pass


def test_json_is_json_whatever_is_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        assert main(["evaluate", str(run), "--json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
