"""Shells complete verbs, options, choices and files."""

from __future__ import annotations

import subprocess

import pytest

from mm_kptm import cli
from mm_kptm.cli.completion import SHELLS

COMPLETE = """
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
$(complete -p mm-kptm | sed 's/.*-F \\([^ ]*\\) .*/\\1/') mm-kptm "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script(capsys, shell: str) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mm-kptm tr", {"train"}),
        ("mm-kptm ev", {"evaluate"}),
        ("mm-kptm list sys", {"systems"}),
        ("mm-kptm train --dr", {"--dry-run"}),
        ("mm-kptm sweep --sampler t", {"tpe"}),
        ("mm-kptm data v", {"validate"}),
        ("mm-kptm train exper", {"experiment.yaml"}),
        ("mm-kptm report --out exper", {"experiment.yaml"}),
    ],
)
def test_bash_completes(words, expected, capsys, tmp_path):
    (tmp_path / "experiment.yaml").touch()
    text = script(capsys, "bash") + COMPLETE.format(words=words)
    ran = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(ran.stdout.split()) == expected, ran.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_and_option_stands_in_the_script(shell, capsys):
    text = script(capsys, shell)
    for verb in ("train", "evaluate", "sweep", "completion"):
        assert verb in text
    assert "overwrite" in text


def test_another_shell_is_refused_with_those_there_are(capsys):
    assert cli.main(["completion", "powershell"]) == 2
    assert "invalid choice: 'powershell'" in capsys.readouterr().err


def test_the_help_says_where_the_script_goes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["completion", "--help"])
    assert "~/.config/fish/completions/mm-kptm.fish" in capsys.readouterr().out.replace("\n", " ")
