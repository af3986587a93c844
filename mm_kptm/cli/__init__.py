"""Command-line interface: parses arguments, calls the library and prints results.

Heavy imports happen when a verb runs, so that ``mm-kptm --help`` is immediate. A user error ends in one sentence on
stderr and exit code 2; any other exception keeps its traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from mm_kptm.cli import threads
from mm_kptm.cli.discovery import add_verbs_of
from mm_kptm.cli.terminal import escaped, escaping
from mm_kptm.errors import UserError, UserNotice, nearest
from mm_kptm.io.atomic import REFUSALS

__all__ = ["main", "parser"]

STOPPED, PIPE_CLOSED, MISTAKE = 130, 141, 2
LONGEST_PATH = 200  #: characters of a path in a message
#: Overrides of experiment files by verb: any key for ``train``, dotted keys for the others.
_OVERRIDES = {
    "train": re.compile(r"--(?!(?:resume|keys|plugin)=)[\w.-]+=.*", re.DOTALL),
    "compare": re.compile(r"--[\w-]+\.[\w.-]+=.*", re.DOTALL),
    "sweep": re.compile(r"--[\w-]+\.[\w.-]+=.*", re.DOTALL),
}

#: Verbs that know experiments or what is found by name, and so take ``--plugin``.
_WITH_PLUGINS = {
    "train", "evaluate", "predict", "submit", "compare", "sweep", "list", "show", "data", "convert", "report",
    "search",
}  # fmt: skip

#: What argparse says of a word that is none of the choices.
_CHOICE = re.compile(r"argument (?P<argument>\S+): invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)")


class _Parser(argparse.ArgumentParser):
    """Argument parser that raises ``UserError`` on invalid arguments."""

    def error(self, message: str) -> NoReturn:
        if choice := _CHOICE.fullmatch(message):
            word, known = choice["word"], re.findall(r"[\w-]+", choice["known"])
            if choice["argument"].isupper():
                group = "".join(self.prog.split()[1:]) or "the command line"
                raise UserError(f"{group} has no {choice['argument'].lower()} {word!r}{nearest(word, known)}")
            if close := nearest(word, known, otherwise=""):
                raise UserError(f"{message}{close}")
        raise UserError(f"{message}; see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs; the function of a verb is its default ``run``."""
    from mm_kptm import __version__

    root = _Parser(
        prog="mm-kptm",
        description="Multimodal, knowledge-enhanced and cross-lingual pretrained Transformers, measured honestly.",
        epilog="Start with `mm-kptm demo`. Wrong input ends with exit code 2 and one sentence.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"mm-kptm {__version__}")
    verbs = root.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    add_verbs_of(__name__, verbs)
    for name, verb in verbs.choices.items():
        if name in _WITH_PLUGINS:
            for leaf in _leaves(verb):
                leaf.add_argument(
                    "--plugin", action="append", metavar="FILE", help="a Python file with tasks, systems or data sets"
                )
    return root


def _leaves(verb: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser of a verb, or those of its actions."""
    return [leaf for inner in _choices(verb).values() for leaf in _leaves(inner)] or [verb]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (default: the arguments of the process) and return its exit code."""
    if arguments is None:
        threads.settle(os.environ)
    with warnings.catch_warnings(), escaping(sys.stdout):
        _print_notices()
        return _run(arguments)


def _print_notices() -> None:
    """Print what a user should know as one sentence on stderr, not as the place in the code that says it."""
    other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UserNotice):
            print(escaped(f"mm-kptm: {message}"), file=sys.stderr)
        else:
            other(message, category, *place, **more)

    warnings.simplefilter("always", UserNotice)
    warnings.showwarning = show


def _run(arguments: Sequence[str] | None) -> int:
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        _load_plugins(arguments)
        own, overrides = _apart(arguments)
        if not own and not overrides:
            parser().print_help()
            return 0
        root = parser()
        options, unknown = root.parse_known_args(own, argparse.Namespace(overrides=overrides))
        if unknown:
            raise _unknown(root, own, unknown)
        code: int = options.run(options)
        sys.stdout.flush()
    except UserError as mistake:
        print(escaped(f"mm-kptm: {mistake}"), file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("\nmm-kptm: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader (head, less) closed the pipe; redirect stdout, or Python would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        if error.errno not in REFUSALS - {errno.ENOENT, errno.EEXIST}:
            raise
        place = str(error.filename or "the disk")
        shown = place if len(place) <= LONGEST_PATH else f"{place[:LONGEST_PATH]}..."
        print(escaped(f"mm-kptm: {shown} cannot be written or read: {error.strerror}"), file=sys.stderr)
        return MISTAKE
    return code


def _unknown(root: argparse.ArgumentParser, arguments: Sequence[str], unknown: Sequence[str]) -> UserError:
    """The error for arguments that the verb does not take, with the option that may have been meant."""
    leaf, override = root, False
    for word in arguments:
        override |= word in _OVERRIDES and leaf is root
        leaf = _choices(leaf).get(word, leaf)
    option, sign, _ = unknown[0].partition("=")
    if override and "." in option and not sign and len(unknown) > 1:
        return UserError(
            f"{option} {unknown[1]} are two words, but a setting and its value are one; write {option}={unknown[1]}"
        )
    known = [name for action in leaf._actions for name in action.option_strings if name != "--help"]
    close = nearest(option, known, otherwise="") if option.startswith("-") else ""
    return UserError(f"unrecognized arguments: {' '.join(unknown)}{close}; see `{leaf.prog} --help`")


def _choices(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs or actions of a parser, by name."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _load_plugins(arguments: Sequence[str]) -> None:
    """Load the files of ``--plugin`` before anything is looked up: they decide which names there are."""
    if not arguments or arguments[0] not in _WITH_PLUGINS:
        return
    files = [word.partition("=")[2] for word in arguments if word.startswith("--plugin=")]
    files += [file for word, file in pairwise(arguments) if word == "--plugin"]
    if files:
        from mm_kptm.systems.discovery import load_plugin

        for file in files:
            load_plugin(file)


def _apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of the verb from the overrides of its experiments, which may have any key."""
    if not arguments or arguments[0] not in _OVERRIDES:
        return list(arguments), []
    overrides = [argument for argument in arguments if _OVERRIDES[arguments[0]].fullmatch(argument)]
    return [argument for argument in arguments if argument not in overrides], overrides
