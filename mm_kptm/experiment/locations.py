"""Where the files of an experiment lie: beside its file, and around a run folder that was moved or mailed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mm_kptm import config
from mm_kptm.config.document import split
from mm_kptm.config.paths import first_there, is_there, paths_of, with_paths
from mm_kptm.experiment.run_state import MODEL
from mm_kptm.experiment.settings import Experiment

CARRIED = "data"  #: folder inside a run folder in which its data may travel
_WRITTEN = ("out", "data.scores")  #: paths that a run writes to
_WEIGHTS, _VOCABULARY = "encoder.weights", "vocabulary"


def read_experiment(
    path: Path, overrides: Sequence[str] = (), changes: Mapping[str, object] | None = None
) -> Experiment:
    """Read an experiment file; its relative paths are looked for beside it, then in the working directory.

    Args:
        path: the file.
        overrides: as ``--a.b=c``; their paths lead from the working directory.
        changes: values by dotted key or blocks, as :func:`mm_kptm.config.of` takes them; likewise.

    Raises:
        UserError: as :func:`mm_kptm.config.read`.
    """
    settings = config.of(Experiment, path, changes) if changes else config.read(Experiment, path, overrides)
    given = {".".join(split(override)[0]) for override in overrides} | {*_leaves(changes or {})}

    def beside(key: str, value: Path) -> Path:
        if key in _WRITTEN or any(f"{key}.".startswith(f"{one}.") for one in given):
            return value
        return first_there(value, (path.parent, Path()))

    return with_paths(settings, beside)


def relocated(settings: Experiment, folder: Path, *, beside: bool = False) -> Experiment:
    """Settings of a run whose files may lie elsewhere by now; what is found is compared with its hashes later.

    A path that is not there is looked for in the folder ``data`` of the run folder, and from every folder that holds
    the run folder; the vocabulary and the initial weights also in ``model`` of the run.

    Args:
        settings: as they were recorded.
        folder: the run folder.
        beside: whether the places around the run come before those that were recorded.
    """

    def find(key: str, path: Path) -> Path:
        if key in _WRITTEN:
            return path
        around = _below(path, folder / CARRIED)
        if not path.is_absolute():
            around += [parent / path for parent in folder.resolve().parents]
        places = [*around, path] if beside else [path, *around]
        if key.rpartition(".")[2] == _VOCABULARY:
            places.append(folder / MODEL / path.name)
        if key == _WEIGHTS:
            places.append(folder / MODEL)
        return next((place for place in places if is_there(place)), path)

    return with_paths(settings, find)


def missing(settings: Experiment) -> dict[str, Path]:
    """The paths of an experiment that are not there, by dotted key."""
    return {key: path for key, path in paths_of(settings).items() if key not in _WRITTEN and not is_there(path)}


def _below(path: Path, folder: Path) -> list[Path]:
    """Places of a path below a folder: as it is, and by its last parts, the longest first."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    return [folder.joinpath(*parts[start:]) for start in range(len(parts))]


def _leaves(changes: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
