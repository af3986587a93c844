"""Scores of texts against images on disk, row by row, so that a ranking that was killed goes on where it stopped.

Shapes: S texts (rows), P images (columns).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, read_json
from mm_kptm.preprocessing.inputs import IntArray, PixelProvider, RegionProvider


class ScoreMatrix:
    """A float32 matrix in a folder, memory-mapped, with a mark for every row that is finished.

    A row is written before it is marked, so a process that dies leaves a row unmarked at worst, which is then computed
    again.

    Args:
        folder: where the files lie; made if it is not there.
        key: names what is scored; another key is another matrix.
        rows: S.
        columns: P.

    Raises:
        UserError: the folder holds a matrix of that key in another size, or a damaged one.
    """

    def __init__(self, folder: str | Path, key: str, rows: int, columns: int) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shape = (rows, columns)
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._described = self.folder / f"{name}.json"
        self._paths = self.folder / f"{name}.scores.npy", self.folder / f"{name}.done.npy"
        if self._described.is_file():
            self._check()
        else:
            for path, kind, shape in zip(self._paths, (np.float32, np.uint8), (self.shape, (rows,)), strict=True):
                np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()
            write_json(self._described, {"key": key, "rows": rows, "columns": columns})
        self._scores, self._done = (self._opened(path) for path in self._paths)

    @property
    def num_done(self) -> int:
        """Number of finished rows."""
        return int(self._done.sum())

    def fill(self, score: Callable[[int], Tensor]) -> Tensor:
        """All scores, [S, P]; ``score`` is called for the rows that are not finished, in their order."""
        for row in np.flatnonzero(self._done == 0).tolist():
            self._scores[row] = score(row).numpy()
            self._scores.flush()
            self._done[row] = 1
            self._done.flush()
        return torch.from_numpy(np.array(self._scores))

    def _check(self) -> None:
        known = Record.of(read_json(self._described), str(self._described))
        shape = known.count("rows"), known.count("columns")
        if shape != self.shape:
            raise UserError(
                f"{self.folder} holds scores of {shape[0]} texts and {shape[1]} images, but {self.shape[0]} and "
                f"{self.shape[1]} are ranked; name another folder"
            )

    def _opened(self, path: Path) -> np.memmap[Any, np.dtype[Any]]:
        try:
            array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r+")
        except (ValueError, OSError) as error:
            raise UserError(f"{path} cannot be read as scores ({error}); delete {self.folder} and rank again") from None
        expected = self.shape if path == self._paths[0] else self.shape[:1]
        if array.shape != expected:
            raise UserError(f"{path} has the shape {list(array.shape)}, not {list(expected)}; delete {self.folder}")
        return array


def weights_key(module: nn.Module, *parts: Iterable[str]) -> str:
    """A digest of the weights of a module and of names."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(value).tobytes())
    for part in parts:
        digest.update("\n".join(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def images_key(pictures: RegionProvider, images: IntArray) -> str:
    """A digest of what images show: their regions, and the files of pictures."""
    digest = hashlib.sha256()
    for place in range(len(images)):
        image = images[place : place + 1]
        regions = pictures.regions(image)
        digest.update(str(regions.layout.total).encode())
        for value in (regions.features, regions.boxes):
            digest.update(_bytes(value).tobytes())
        for file in pictures.files(image) if isinstance(pictures, PixelProvider) else ():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _bytes(value: Tensor) -> NDArray[np.uint8]:
    raw: NDArray[np.uint8] = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw
