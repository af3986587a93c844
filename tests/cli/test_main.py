"""The command line as a user meets it: quick help, one sentence for a mistake, quiet ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm import cli
from mm_kptm.errors import UserError

VERBS = ("demo", "train", "evaluate", "report", "list", "show", "convert", "doctor")


def launch(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mm_kptm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_help_loads_nothing_heavy():
    code = "import sys, mm_kptm.cli as c; c.parser().format_help(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mm_kptm.cli.doctor" in loaded
    assert {"torch", "numpy", "sklearn", "matplotlib", "transformers"}.isdisjoint(loaded)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"mm-kptm {verb}" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"mm-kptm {mm_kptm.__version__}\n"


def test_no_arguments_print_the_help(capsys):
    assert cli.main([]) == 0
    out, err = capsys.readouterr()
    assert out == cli.parser().format_help() and err == ""
    assert all(f"    {verb} " in out for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["kg"], "the following arguments are required: ACTION; see `mm-kptm kg --help`"),
        (["trian", "a.yaml", "--train.steps=1"], "the command line has no verb 'trian'; did you mean train?"),
        (["qqqq"], "the command line has no verb 'qqqq'; there are align, ask, "),
        (["kg", "trian"], "kg has no action 'trian'; did you mean train?"),
        (
            ["list", "systms"],
            "argument kind: invalid choice: 'systms' (choose from 'systems', 'tasks', 'datasets', 'objectives'); "
            "did you mean systems?",
        ),
        (
            ["doctor", "--jason"],
            "unrecognized arguments: --jason; did you mean --json?; see `mm-kptm doctor --help`",
        ),
        (["kg", "info", "a.tsv", "--qqqq"], "unrecognized arguments: --qqqq; see `mm-kptm kg info --help`"),
        (
            ["train", "a.yaml", "--overwritte"],
            "unrecognized arguments: --overwritte; did you mean --overwrite?; see `mm-kptm train --help`",
        ),
        (
            ["train", "a.yaml", "--train.steps", "1"],
            "--train.steps 1 are two words, but a setting and its value are one; write --train.steps=1",
        ),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments, sentence, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mm-kptm: {sentence}")
    assert err.count("\n") == 1


def test_a_mistake_leaves_no_traceback_and_code_2(tmp_path):
    done = launch(
        "train", "nowhere.yaml", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "mm-kptm: the experiment file nowhere.yaml cannot be read: No such file or directory\n"


def ending_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr("mm_kptm.cli.doctor._doctor", fail)
    return cli.main(["doctor"])


def test_an_interrupt_ends_in_one_line(monkeypatch, capsys):
    assert ending_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr().err == "\nmm-kptm: stopped\n"


def test_a_users_error_is_printed_as_it_is(monkeypatch, capsys):
    assert ending_with(UserError("this cannot be"), monkeypatch) == 2
    assert capsys.readouterr().err == "mm-kptm: this cannot be\n"


def test_a_full_or_forbidden_disk_is_named(monkeypatch, capsys):
    assert ending_with(PermissionError(errno.EACCES, "Permission denied", "runs"), monkeypatch) == 2
    assert capsys.readouterr().err == "mm-kptm: runs cannot be written or read: Permission denied\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    with pytest.raises(FileNotFoundError):
        ending_with(FileNotFoundError(errno.ENOENT, "No such file", "x"), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        ending_with(ZeroDivisionError(), monkeypatch)


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "mm_kptm", "train", "--keys"], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 141
    assert done.stderr == ""
