"""WebDataset tars: an index of where every example lies, so that any of them can be read, in any order.

An example is the files that share a name up to its first dot: ``00017.jpg`` and ``00017.txt``, or ``00017.json`` with a
caption (the layout of the ``webdataset`` library). Nothing is unpacked to the disk.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
CAPTIONS = ("txt", "caption", "text")
KEYS = ("caption", "text")  #: of the object in a ``.json``, in order of preference
Place = tuple[int, int]  #: offset and size of a file in the tar


@dataclass(frozen=True)
class TarExample:
    """Where an example lies in its tar."""

    key: str
    picture: Place
    caption: Place
    suffix: str  #: of the caption: ``json``, or one of a plain text


def read_tar_index(path: Path) -> list[TarExample]:
    """Every example of a tar with a picture and a caption, in its order; only the headers are read.

    Raises:
        UserError: it is no uncompressed tar, it ends in the middle of a file, or it holds no picture with a caption.
    """
    found: list[TarExample] = []
    key, parts = "", dict[str, Place]()
    for name, place in _members(path):
        folder, slash, file = name.rpartition("/")
        stem, _, suffix = file.partition(".")
        if (mine := folder + slash + stem) != key:
            found += _example(key, parts)
            key, parts = mine, {}
        parts[suffix.lower()] = place
    found += _example(key, parts)
    if not found:
        raise UserError(
            f"{path} holds no picture with a caption; an example is files of one name, such as 0001.jpg and 0001.txt"
        )
    return found


def read_bytes(path: Path, place: Place) -> bytes:
    """The bytes at a place of a file.

    Raises:
        UserError: the file is gone, or shorter than it was.
    """
    offset, size = place
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) < size:
        raise UserError(f"{path} is shorter than it was when its examples were counted; start again")
    return content


def read_caption(path: Path, example: TarExample) -> str:
    """The caption of an example.

    Raises:
        UserError: it is no UTF-8, or its ``.json`` has no text under a key of :data:`KEYS`.
    """
    place = f"{path}, {example.key}.{example.suffix}"
    try:
        text = read_bytes(path, example.caption).decode("utf-8-sig")
        if example.suffix != "json":
            return text.strip()
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{place} holds no valid text: {error}") from None
    said = [values[key] for key in KEYS if isinstance(values, dict) and isinstance(values.get(key), str)]
    if not said:
        raise UserError(f"{place} has no {' or '.join(map(repr, KEYS))} with a text; write one, or a .txt beside it")
    return str(said[0]).strip()


def _members(path: Path) -> Iterator[tuple[str, Place]]:
    """Name and place of every file of a tar."""
    last, size = "", path.stat().st_size if path.is_file() else 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                last = member.name
                if member.isreg():
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                    yield member.name, (member.offset_data, member.size)
    except FileNotFoundError:
        raise UserError(f"{path} was to be read, but there is no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path} cannot be read as a tar: {error.strerror}") from None
    except tarfile.ReadError as error:
        if last:
            raise UserError(f"{path} is cut short at {last}; copy it again, or leave it out") from None
        packed = path.suffix in (".gz", ".tgz", ".bz2", ".xz", ".zst")
        remedy = "unpack it to a plain .tar, in which any example can be found" if packed else f"it is no tar ({error})"
        raise UserError(f"{path} cannot be read as a tar: {remedy}") from None


def _example(key: str, parts: dict[str, Place]) -> list[TarExample]:
    picture = next((parts[suffix] for suffix in PICTURES if suffix in parts), None)
    suffix = next((suffix for suffix in (*CAPTIONS, "json") if suffix in parts), None)
    return [] if picture is None or suffix is None else [TarExample(key, picture, parts[suffix], suffix)]
