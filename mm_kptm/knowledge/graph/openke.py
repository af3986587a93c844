"""OpenKE files: entity ids and vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.token_store import INDEX, once
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import atomic_folder, write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.io.text_lines import numbered_lines

ENTITY_IDS, ENTITY_VECTORS = "entity2id.txt", "entity2vec.vec"
NOTHING = -1  #: number of no entity
MAPPED = "vectors.npy"  #: the vectors as an array that processes map
_NUMBER = re.compile("[0-9]{1,18}")


def read_entity_ids(path: str | Path) -> dict[str, int]:
    """Read entity ids from a released ``entity2id.txt``: an optional count, then a name and an id per line.

    Raises:
        UserError: there is no such file, a line is not of that form, a name stands twice with two numbers, or the file
            holds more or fewer lines than its count says.
    """
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    lines, expected = 0, None
    for place, line in _numbered(Path(path)):
        parts = line.strip().rsplit(maxsplit=1)  # a name may hold blanks
        if place == 1 and (expected := count_of(line)) is not None:
            continue
        if len(parts) != 2 or not _NUMBER.fullmatch(parts[1]):
            raise UserError(f"{path}, line {place}: a name and its number, set apart by a tab, not {line.strip()!r}")
        lines += 1
        if (first := names.setdefault(int(parts[1]), parts[0])) != parts[0]:
            both = f"to {first} and to {parts[0]} (line {place})"
            raise UserError(f"{path} gives the number {int(parts[1])} {both}; it belongs to one")
        if numbers.setdefault(parts[0], int(parts[1])) != int(parts[1]):
            raise UserError(
                f"{path}, line {place} gives {parts[0]} the number {parts[1]}, but a line before gives it "
                f"{numbers[parts[0]]}; give every name one number"
            )
    check_count(path, expected, lines, "names")
    return numbers


def read_entities(folder: Path) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Numbers of entities by name, and their vectors, [N, E].

    Raises:
        UserError: a file is missing or a line of it cannot be read, or an entity has no vector.
    """
    numbers, vectors = read_entity_ids(folder / ENTITY_IDS), read_vectors(folder / ENTITY_VECTORS)
    for name, number in numbers.items():
        if number >= len(vectors):
            raise UserError(
                f"{folder / ENTITY_IDS} gives {name} the number {number}, but {ENTITY_VECTORS} has {len(vectors)} "
                "lines; numbers count from 0"
            )
    return numbers, vectors


def mapped_vectors(folder: Path, entities: Path, *, source: Mapping[str, object]) -> NDArray[np.float32]:
    """The vectors of entities, mapped from an array in a folder that is written first if it is not there, [N, E].

    Args:
        folder: for the array.
        entities: folder of the files.
        source: their digests.

    Raises:
        UserError: as :func:`read_entities`, or the array was made of other files.
    """
    once(folder, _write_array, folder, entities, dict(source))
    record = Record.of(read_json(folder / INDEX), str(folder / INDEX))
    if record.get("source", dict) != dict(source):
        raise UserError(f"{folder} was made of other files; remove it, and it is made anew, or name another folder")
    vectors: NDArray[np.float32] = np.load(folder / MAPPED, mmap_mode="c", allow_pickle=False)
    return vectors


def _write_array(folder: Path, entities: Path, source: Mapping[str, object]) -> None:
    with atomic_folder(folder) as draft:
        np.save(draft / MAPPED, read_entities(entities)[1])
        write_json(draft / INDEX, {"source": dict(source)}, indent=1)


def count_of(line: str) -> int | None:
    """The count that a file of OpenKE has on its first line; None where that line is something else."""
    return int(line) if _NUMBER.fullmatch(line.strip()) else None


def check_count(path: str | Path, expected: int | None, lines: int, what: str) -> None:
    """``UserError`` where a file holds more or fewer lines than its first line says."""
    if expected is not None and expected != lines:
        why = "it was cut short, fetch it again" if lines < expected else "correct the count"
        raise UserError(f"{path} says on its first line that it holds {expected} {what}, but it holds {lines}; {why}")


def read_vectors(path: str | Path) -> NDArray[np.float32]:
    """Read vectors from a released ``entity2vec.vec``, one per line, values separated by tabs or spaces, [N, E].

    Raises:
        UserError: there is no such file, it is empty, or a line holds no numbers or more or fewer than those before.
    """
    rows: list[NDArray[np.float32]] = []
    for place, line in _numbered(Path(path)):
        try:
            row = np.array(line.split(), dtype=np.float32)
        except ValueError:
            raise UserError(f"{path}, line {place}: a vector is numbers set apart by tabs, not {line[:40]!r}") from None
        if rows and len(row) != len(rows[0]):
            raise UserError(f"{path}, line {place}: {len(row)} numbers, but the lines before have {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} is empty; it has one vector a line")
    return np.stack(rows)


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise UserError(f"entities were looked for in {path}, but there is no such file")
    return numbered_lines(path)
