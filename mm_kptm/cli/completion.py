"""The verb completion: what a shell needs to complete verbs, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

SHELLS = {
    "bash": 'eval "$(mm-kptm completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(mm-kptm completion zsh)" in ~/.zshrc, behind compinit',
    "fish": "mm-kptm completion fish > ~/.config/fish/completions/mm-kptm.fish",
}


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    completion = verbs.add_parser("completion", help="print what bash, zsh or fish need to complete commands")
    completion.description = "Print a script that completes verbs, options and files."
    completion.epilog = "; ".join(f"{shell}: {use}" for shell, use in SHELLS.items())
    completion.add_argument("shell", choices=tuple(SHELLS), metavar="|".join(SHELLS), help="your shell")
    completion.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    import shtab

    from mm_kptm.cli import parser

    root = parser()
    for action in _actions(root):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # read by shtab
    print(shtab.complete(root, shell=options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every action of a parser and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
