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
from typing import Any, NoReturn

from mm_kptm.cli import ask, catalogue, compare, convert, data, doctor, explain, features, kg, predict, runs, threads
from mm_kptm.errors import UserError, UserNotice, nearest

__all__ = ["main", "parser"]

STOPPED, PIPE_CLOSED, MISTAKE = 130, 141, 2
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
#: Overrides of experiment files by verb: any key for ``train``, dotted keys for ``compare``.
_OVERRIDES = {
    "train": re.compile(r"--(?!(?:resume|keys)=)[\w.-]+=.*", re.DOTALL),
    "compare": re.compile(r"--[\w-]+\.[\w.-]+=.*", re.DOTALL),
}

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
        epilog="Start with `mm-kptm demo`. A mistake of yours ends with exit code 2 and one sentence.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"mm-kptm {__version__}")
    verbs = root.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for room in (runs, predict, ask, explain, compare, features, kg, data, catalogue, convert, doctor):
        room.add_verbs(verbs)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (default: the arguments of the process) and return its exit code."""
    if arguments is None:
        threads.settle(os.environ)
    with warnings.catch_warnings():
        _print_notices()
        return _run(arguments)


def _print_notices() -> None:
    """Print what a user should know as one sentence on stderr, not as the place in the code that says it."""
    other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, UserNotice):
            print(f"mm-kptm: {message}", file=sys.stderr)
        else:
            other(message, category, *place, **more)

    warnings.simplefilter("always", UserNotice)
    warnings.showwarning = show


def _run(arguments: Sequence[str] | None) -> int:
    try:
        own, overrides = _apart(sys.argv[1:] if arguments is None else arguments)
        if not own and not overrides:
            parser().print_help()
            return 0
        options = parser().parse_args(own, argparse.Namespace(overrides=overrides))
        code: int = options.run(options)
        sys.stdout.flush()
    except UserError as mistake:
        print(f"mm-kptm: {mistake}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("\nmm-kptm: stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader (head, less) closed the pipe; redirect stdout, or Python would report an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        print(f"mm-kptm: {error.filename or 'the disk'} cannot be written or read: {error.strerror}", file=sys.stderr)
        return MISTAKE
    return code


def _apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of the verb from the overrides of its experiments, which may have any key."""
    if not arguments or arguments[0] not in _OVERRIDES:
        return list(arguments), []
    overrides = [argument for argument in arguments if _OVERRIDES[arguments[0]].fullmatch(argument)]
    return [argument for argument in arguments if argument not in overrides], overrides
