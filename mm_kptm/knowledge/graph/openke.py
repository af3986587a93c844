"""OpenKE files: entity ids and vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines


def read_entity_ids(path: str | Path) -> dict[str, int]:
    """Read entity ids from a released ``entity2id.txt``: an optional count, then a name and an id per line.

    Raises:
        UserError: there is no such file, or a line is not of that form.
    """
    numbers: dict[str, int] = {}
    for place, line in _numbered(Path(path)):
        parts = line.strip().rsplit(maxsplit=1)  # a name may hold blanks
        if place == 1 and len(parts) == 1 and parts[0].isdigit():
            continue
        if len(parts) != 2 or not parts[1].isdigit():
            raise UserError(f"{path}, line {place}: a name and its number, set apart by a tab, not {line.strip()!r}")
        numbers[parts[0]] = int(parts[1])
    return numbers


def read_vectors(path: str | Path) -> Tensor:
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
    return torch.from_numpy(np.stack(rows))


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise UserError(f"entities were looked for in {path}, but there is no such file")
    return numbered_lines(path)
