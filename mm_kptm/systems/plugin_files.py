"""Plug-ins in one file: what is found in a package of the house is found in such a file too.

A file may hold recipes, additions, objectives, knowledge kinds, tasks and data sets. Child processes load the files of
their parent, which stand in the environment variable ``MM_KPTM_PLUGINS``; a run folder records them by their hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, read_json

VARIABLE = "MM_KPTM_PLUGINS"  #: paths of the files, separated as those of PATH
RECORD = "plugins.json"  #: file of a run folder: path and hash of each plug-in it was trained with


class Plugin(NamedTuple):
    """A file that was loaded."""

    path: Path
    sha256: str
    module: ModuleType


_loaded: dict[str, Plugin] = {}  #: by hash


def load_file(path: Path) -> Plugin:
    """Load a plug-in file, once, in this process and those that it starts.

    Raises:
        UserError: the file cannot be read, is no Python, or fails when it is imported.
    """
    path = path.absolute()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"the plug-in {path} cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(source).hexdigest()
    if sha256 not in _loaded:
        if path.suffix != ".py":
            raise UserError(f"the plug-in {path} is no Python file; its name must end in .py")
        _loaded[sha256] = Plugin(path, sha256, _imported(path, sha256))
        here = os.environ.get(VARIABLE, "")
        if str(path) not in here.split(os.pathsep):
            os.environ[VARIABLE] = os.pathsep.join(filter(None, (here, str(path))))
    return _loaded[sha256]


def load_inherited() -> None:
    """Load the plug-ins of the process that started this one."""
    for path in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load_file(Path(path))


def plugin_modules() -> tuple[ModuleType, ...]:
    """Modules of the loaded files, in the order of loading."""
    return tuple(plugin.module for plugin in _loaded.values())


def record_plugins(run: Path) -> None:
    """Write the loaded plug-ins into a run folder, if there are any."""
    if _loaded:
        found = {plugin.path.name: {"path": str(plugin.path), "sha256": plugin.sha256} for plugin in _loaded.values()}
        write_json(run / RECORD, found, indent=1)


def check_plugins(run: Path) -> None:
    """Check that the plug-ins that a run was trained with are loaded.

    Raises:
        UserError: one is not, or has changed since.
    """
    if not (run / RECORD).is_file():
        return
    record = Record.of(read_json(run / RECORD), str(run / RECORD)).values
    names = {plugin.path.name for plugin in _loaded.values()}
    for name, entry in record.items():
        known = Record.of(entry, f"{run / RECORD}, {name}")
        path, sha256 = known.get("path", str), known.get("sha256", str)
        if sha256 in _loaded:
            continue
        if name in names:
            raise UserError(
                f"{run} was trained with another version of the plug-in {name}, of hash {sha256[:12]}; give that "
                "one, or train anew"
            )
        raise UserError(f"{run} was trained with the plug-in {name}; add --plugin {path}")


def _imported(path: Path, sha256: str) -> ModuleType:
    name = f"mm_kptm_plugin_{path.stem}_{sha256[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"the plug-in {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise UserError(f"the plug-in {path}, line {error.lineno} is no Python: {error.msg}") from None
    except UserError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(
            f"the plug-in {path}, line {_line(error, path)} fails when it is imported: {type(error).__name__}: {error}"
        ) from error
    return module


def _line(error: BaseException, path: Path) -> int | str:
    """Last line of the file that led to the error."""
    found: int | str = "?"
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
