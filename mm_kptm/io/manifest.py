"""Manifest of a folder: size and SHA-256 of each of its files, so that damage is noticed before a file is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import sync, write_json
from mm_kptm.io.records import Record, read_json

MANIFEST = "manifest.json"


def seal(folder: Path, names: Sequence[str] | None = None) -> None:
    """Write the manifest of a complete folder and sync everything in it to disk.

    Args:
        folder: holds the files.
        names: files that the manifest covers, as paths inside the folder; None for all.
    """
    inside = sorted(folder.rglob("*"))
    files = [path for path in inside if path.is_file()] if names is None else [folder / name for name in names]
    manifest = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": digest(file)}
        for file in files
        if file.name != MANIFEST
    }
    for path in inside:
        sync(path)
    write_json(folder / MANIFEST, manifest, indent=2, ascii_only=True)


def verify(folder: Path, *, required: Sequence[str], way_out: str, every_file: bool = True) -> None:
    """Compare the files of a folder with its manifest.

    Args:
        folder: written by :func:`seal`.
        required: files that the manifest must cover; an empty or partial manifest verifies nothing.
        way_out: end of every message.
        every_file: refuse files that the manifest does not cover.

    Raises:
        UserError: the manifest is missing, broken or partial; a file is missing, damaged or was added.
    """
    entries = _entries(folder / MANIFEST, way_out)
    for name in required:
        if name not in entries:
            raise UserError(f"{folder / MANIFEST} does not cover {name}, so that it cannot be trusted; {way_out}")
    for name, (size, expected) in entries.items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file} is missing; {way_out}")
        if file.stat().st_size != size:
            raise UserError(f"{file} has {file.stat().st_size} bytes where {size} were written; {way_out}")
        if digest(file) != expected:
            raise UserError(f"{file} is not what was written (its checksum differs); {way_out}")
    if every_file:
        there = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
        if added := [name for name in there if name != MANIFEST and name not in entries]:
            raise UserError(f"{folder / added[0]} is not in {MANIFEST}, so that it cannot be trusted; {way_out}")


def _entries(manifest: Path, way_out: str) -> dict[str, tuple[int, str]]:
    """Size and checksum of the covered files by their name."""
    try:
        records = Record.of(read_json(manifest), str(manifest))
        entries = {}
        for name in records.values:
            record = Record.of(records.values[name], f"{manifest}, {name}")
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise UserError(f"{manifest}: {name!r} leaves the folder")
            entries[name] = (record.count("bytes"), record.get("sha256", str))
    except UserError as error:
        raise UserError(f"{manifest} is missing or unreadable, so nothing is verified ({error}); {way_out}") from None
    if not entries:
        raise UserError(f"{manifest} is empty, so nothing is verified; {way_out}")
    return entries


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
