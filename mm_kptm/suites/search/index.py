"""Index of a folder of pictures on disk: made, brought up to date and opened.

An index is a folder of generations (:mod:`mm_kptm.suites.search.generation`) and a file ``current`` that names the
whole one. A new generation is written beside the old one and ``current`` is replaced in one step, so a reader sees
either, and a kill at any moment leaves the old one. One process writes at a time; readers need no lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.images.folders import pictures_in
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import atomic_folder, write_text
from mm_kptm.suites.search.approximate import Approximation, approximate, approximation_of
from mm_kptm.suites.search.files import decoded, read_content, stamp_of, unchanged
from mm_kptm.suites.search.generation import Generation, GenerationWriter, Skipped, Stamp
from mm_kptm.suites.search.journal import Embedded, Journal
from mm_kptm.suites.search.model import Pixels, SearchModel

CURRENT, LOCK = "current", "lock"
_GENERATION, _JOURNAL = "generation-", "journal-"
_TRIES = 20  # of opening an index that is replaced meanwhile


@dataclass
class Indexed:
    """What an update of an index did, in files."""

    index: Path
    pictures: int = 0  #: in the index now
    read: int = 0  #: files whose content was read
    embedded: int = 0  #: pictures that the model embedded
    removed: int = 0  #: that are no longer in the folder
    skipped: list[Skipped] = field(default_factory=list)  #: files that are no readable picture
    approximation: Approximation | None = None  #: of a new generation


def open_index(index: Path) -> Generation:
    """Open the current generation of an index.

    Raises:
        UserError: there is no index, or it is damaged.
    """
    for _ in range(_TRIES):
        try:
            name = (index / CURRENT).read_text(encoding="utf-8").strip()
            return Generation.open(index / _checked(name, index))
        except (FileNotFoundError, NotADirectoryError):
            continue  # replaced between the two reads
    if (index / CURRENT).is_file():
        raise UserError(f"the index {index} lacks files; index the folder again with --rebuild")
    raise UserError(f"{index} is no index; make it with `mm-kptm search index FOLDER --model RUN --index {index}`")


def update_index(
    pictures: Path,
    index: Path,
    model: SearchModel,
    *,
    rebuild: bool = False,
    approximation: str | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Make an index of the pictures of a folder, or bring it up to date; only files that changed are read.

    A file is unchanged if its size and times are. A changed one is read, and embedded if no picture of the same
    content is known. What a killed update had embedded is kept. Unreadable pictures are skipped and named.

    Args:
        pictures: the folder, searched at any depth.
        index: the folder of the index.
        model: embeds the pictures.
        rebuild: embeds everything anew, with any model and of any folder; the old index stays until the new is whole.
        approximation: ``hnsw`` or ``ivf`` for a FAISS index beside the vectors, ``none`` for exact search alone; as
            before unless given.
        batch_size: pictures embedded at once.
        progress: called with the number of files done and in all.

    Raises:
        UserError: the folder holds no readable picture, the index is of another model or folder, or is being written.
    """
    names = sorted(pictures_in(pictures), key=os.fsencode)
    if index.resolve() == pictures.resolve():
        raise UserError(f"the index {index} is the folder of the pictures itself; name another --index")
    with _locked(index):
        old = None if rebuild or not (index / CURRENT).is_file() else open_index(index)
        if old is not None:
            check_model(old, model, index)
            _check_folder(old, pictures, index)
        _sweep(index, keep=model.fingerprint)
        journal = index / f"{_JOURNAL}{model.fingerprint[:16]}"
        if rebuild:
            journal.unlink(missing_ok=True)
        report = Indexed(index)
        with Journal(journal) as known:
            found = _Update(pictures, old, known, model, batch_size, report).run(names, progress)
            if not found:
                raise UserError(
                    f"none of the {len(names)} pictures in {pictures} can be read: {report.skipped[0].reason}"
                )
            kind = approximation or ("none" if old is None else approximation_of(old.folder))
            skips = () if old is None else old.facts.skipped
            same = old is not None and not report.read and not report.removed and list(skips) == report.skipped
            if not same or (old is not None and kind != approximation_of(old.folder)):
                _write(index, found, old, known, model, pictures, report, kind)
        journal.unlink(missing_ok=True)
        _sweep(index)
    report.pictures = len(found)
    return report


def check_model(generation: Generation, model: SearchModel, index: Path) -> None:
    """Refuse a model that did not make the index.

    Raises:
        UserError: its weights are others.
    """
    made = generation.facts
    if made.fingerprint != model.fingerprint:
        where = "which has other weights now" if Path(made.model) == model.path.absolute() else f"not with {model.path}"
        raise UserError(
            f"the index {index} was made with {made.model}, {where}; search with the model that made it, index again "
            "with --rebuild, or name another --index"
        )


@dataclass
class _Row:
    """A picture of the new generation: its vector lies in the old one or in the journal."""

    name: str
    stamp: Stamp
    digest: bytes
    old: int | None


@dataclass
class _Update:
    pictures: Path
    old: Generation | None
    journal: Journal
    model: SearchModel
    batch_size: int
    report: Indexed
    _waiting: dict[bytes, tuple[Pixels, bytes]] = field(default_factory=dict)  #: to be embedded, with thumbnails

    def run(self, names: list[str], progress: Callable[[int, int], None] | None) -> list[_Row]:
        """The rows of the new generation; every picture that none had is in the journal."""
        rows = []
        for done, name in enumerate(names):
            if progress is not None:
                progress(done, len(names))
            if (row := self._row(name)) is not None:
                rows.append(row)
        self._embed()
        if progress is not None:
            progress(len(names), len(names))
        if self.old is not None:
            there = {os.fsencode(row.name) for row in rows}
            self.report.removed = sum(self.old.names[row] not in there for row in range(len(self.old)))
        return rows

    def _row(self, name: str) -> _Row | None:
        """The row of a file; None where it is skipped."""
        path = self.pictures / name
        try:
            stamp = stamp_of(path)
            if self.old is not None:
                before = self.old.row(name)
                if before is not None and unchanged(self.old.stamp(before), stamp):
                    return _Row(name, stamp, self.old.digests[before].tobytes(), before)
                skipped = self._skipped.get(name)
                if skipped is not None and unchanged(skipped.stamp, stamp):
                    self.report.skipped.append(skipped)
                    return None
            self.report.read += 1
            content, digest = read_content(path)
            before = self._rows_by_digest.get(digest)
            if before is None and digest not in self.journal and digest not in self._waiting:
                self._waiting[digest] = decoded(content, path)
                if len(self._waiting) >= self.batch_size:
                    self._embed()
            return _Row(name, stamp, digest, before)
        except UserError as error:
            reason = str(error).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            self.report.skipped.append(Skipped(name, reason, _stamp_if_any(path)))
            return None

    @cached_property
    def _skipped(self) -> dict[str, Skipped]:
        """Files that the old generation skipped, by name."""
        return {} if self.old is None else {one.name: one for one in self.old.facts.skipped}

    @cached_property
    def _rows_by_digest(self) -> dict[bytes, int]:
        """The row of every content of the old generation."""
        old = () if self.old is None else self.old.digests
        return {digest.tobytes(): row for row, digest in enumerate(old)}

    def _embed(self) -> None:
        if not self._waiting:
            return
        vectors = self.model.embed_pictures([picture for picture, _ in self._waiting.values()])
        for (digest, (_, thumbnail)), vector in zip(self._waiting.items(), vectors, strict=True):
            self.journal.add(digest, Embedded(vector, thumbnail))
        self.journal.flush()
        self.report.embedded += len(self._waiting)
        self._waiting.clear()


def _stamp_if_any(path: Path) -> Stamp:
    try:
        return stamp_of(path)
    except UserError:
        return 0, 0, 0


def _write(
    index: Path,
    rows: list[_Row],
    old: Generation | None,
    journal: Journal,
    model: SearchModel,
    pictures: Path,
    report: Indexed,
    approximation: str,
) -> None:
    """Write the next generation and make it the current one."""
    name = f"{_GENERATION}{_number(index) + 1:08d}"
    with atomic_folder(index / name) as folder:
        first = _embedded(rows[0], old, journal)
        with GenerationWriter(folder, len(first.vector)) as writer:
            for row in rows:
                found = _embedded(row, old, journal)
                writer.add(row.name, row.digest, row.stamp, found.vector, found.thumbnail)
            writer.finish(str(model.path.absolute()), model.fingerprint, pictures.resolve(), report.skipped)
        report.approximation = approximate(folder, approximation)
    write_text(index / CURRENT, name + "\n")


def _embedded(row: _Row, old: Generation | None, journal: Journal) -> Embedded:
    if row.old is None:
        return journal[row.digest]
    generation = cast(Generation, old)
    vector: NDArray[np.float32] = generation.vectors[row.old]
    return Embedded(vector, generation.thumbnails[row.old])


def _check_folder(old: Generation, pictures: Path, index: Path) -> None:
    if Path(old.facts.pictures) != pictures.resolve():
        raise UserError(
            f"the index {index} is of the folder {old.facts.pictures}, not of {pictures}; name another --index for "
            "this folder, or replace the index with --rebuild"
        )


def _checked(name: str, index: Path) -> str:
    if not name.startswith(_GENERATION) or not name.removeprefix(_GENERATION).isdigit():
        raise UserError(f"{index / CURRENT} names no generation of the index; index the folder again with --rebuild")
    return name


def _number(index: Path) -> int:
    """The highest number of a generation so far."""
    numbers = [path.name.removeprefix(_GENERATION) for path in index.glob(f"{_GENERATION}*")]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _sweep(index: Path, keep: str | None = None) -> None:
    """Remove what the index does not need: older generations, leftovers of killed updates, journals of other models."""
    current = index / CURRENT
    whole = current.read_text(encoding="utf-8").strip() if current.is_file() else None
    for path in index.iterdir():
        name = path.name
        if path.is_dir() and _GENERATION in name and name != whole and name.lstrip(".").startswith(_GENERATION):
            shutil.rmtree(path, ignore_errors=True)
        elif name.startswith(f".{CURRENT}.") or (
            keep is not None and name.startswith(_JOURNAL) and name != f"{_JOURNAL}{keep[:16]}"
        ):
            path.unlink(missing_ok=True)


@contextmanager
def _locked(index: Path) -> Iterator[None]:
    """Hold the lock of an index; the operating system lets go of it when the process ends, however it does.

    Raises:
        UserError: another process holds it, or the place is no folder of an index.
    """
    if index.exists() and (not index.is_dir() or (any(index.iterdir()) and not (index / LOCK).is_file())):
        raise UserError(f"{index} is there already and is no index; name another --index")
    index.mkdir(parents=True, exist_ok=True)
    with (index / LOCK).open("a+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"the index {index} is being written by another process; wait for it to end, or name another --index"
            ) from None
        yield
