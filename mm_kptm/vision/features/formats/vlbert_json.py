"""VL-BERT's JSON (Su et al. 2020): one file per image in a folder or a zip, arrays in base64.

The official index names them as ``archive.zip@/file.json``; :func:`read` takes the folder, the zip, or such an index.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.io.records import parse_json, read_line
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.files import MOST_BYTES, decode, encode, unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format


def read(path: Path) -> Iterator[Detections]:
    """Read images from a folder or zip in the order of their names, or those listed in an index (JSON lines)."""
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield _image(file.read_bytes(), str(file))
    elif path.suffix == ".zip":
        with _archive(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    yield _image(_member(archive, name, path), f"{path}@/{name}")
    else:
        yield from _listed(path)


def _listed(index: Path) -> Iterator[Detections]:
    archives: dict[Path, zipfile.ZipFile] = {}
    seen: set[str] = set()
    try:
        for number, line in numbered_lines(index):
            entry = read_line(line, f"{index}, line {number}").get("frcnn", str)
            if entry in seen:  # an image has many captions
                continue
            seen.add(entry)
            holder, _, inside = entry.partition("@/")
            target = (index.parent / holder).resolve()
            if not target.is_relative_to(index.parent.resolve()):
                raise UserError(f"{index}, line {number} leads out of its folder: {entry!r}")
            if not target.is_file():
                raise UserError(f"{index}, line {number} names {target}, which is not there")
            if not inside:
                yield _image(target.read_bytes(), str(target))
                continue
            if target not in archives:
                archives[target] = _archive(target)
            yield _image(_member(archives[target], inside, target), f"{target}@/{inside}")
    finally:
        for archive in archives.values():
            archive.close()


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} cannot be read as a zip: {error}") from None


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        if archive.getinfo(name).file_size > MOST_BYTES:
            raise UserError(f"{path}@/{name} unfolds to more than an image's features can be")
        return archive.read(name)
    except KeyError:
        raise UserError(f"{path} holds no file {name!r}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}@/{name} cannot be read: {error}") from None


def _image(data: bytes, where: str) -> Detections:
    try:
        record: Any = parse_json(data.decode("utf-8"), where)
        count = whole(record["num_boxes"], "num_boxes", where)
        name = record.get("image_id", Path(where.split("@/")[-1]).stem)
        return Detections(
            str(name),
            decode(record["features"], "<f4", count, "features", where, dim=-1),
            decode(record["boxes"], "<f4", count, "boxes", where, dim=4),
            (whole(record["image_w"], "image_w", where), whole(record["image_h"], "image_h", where)),
            class_probs=decode(record["classes"], "<f4", count, "classes", where, dim=-1)
            if "classes" in record
            else None,
        )
    except KeyError as error:
        raise UserError(f"{where} has no {error}, which the record of an image needs") from None
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where} is no JSON record of an image: {error}") from None


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new folder, or to a zip if the name ends in ``.zip``; numeric ids get 8-digit file names."""
    zipped = path.suffix == ".zip"
    names: set[str] = set()
    with unfinished(path, folder=not zipped) as part:
        archive = zipfile.ZipFile(part, "w") if zipped else None

        def add(image: Detections) -> None:
            width, height = image.require("size", "VL-BERT's JSON")
            number = int(image.image) if image.image.isdecimal() else None
            name = f"{image.image if number is None else format(number, '08d')}.json"
            if name in names or "/" in name:
                raise UserError(f"image {image.image!r} comes twice, or leads into another folder")
            names.add(name)
            record: dict[str, Any] = {"image_id": image.image if number is None else number}
            record |= {"image_w": width, "image_h": height, "num_boxes": len(image)}
            record |= {"boxes": encode(image.pixel_boxes(), "<f4"), "features": encode(image.features, "<f4")}
            if image.class_probs is not None:
                record["classes"] = encode(image.class_probs, "<f4")
            text = json.dumps(record)
            if archive is None:
                (part / name).write_text(text, encoding="utf-8")
            else:
                archive.writestr(name, text)

        try:
            yield add
        finally:
            if archive is not None:
                archive.close()


def _recognises(path: Path) -> bool:
    if path.is_dir():
        one = next(path.glob("*.json"), None)
        return one is not None and b'"num_boxes"' in one.read_bytes() and b'"features"' in one.read_bytes()
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".json") for name in archive.namelist())
    if path.suffix in (".json", ".jsonl"):
        with path.open("rb") as file:
            return b'"frcnn"' in file.readline(2**20)
    return False


VLBERT_JSON = Format(
    "vlbert-json",
    "one JSON per image in a folder or a zip, arrays in base64 (VL-BERT)",
    keeps=frozenset({"size", "class_probs"}),
    recognises=_recognises,
    read=read,
    write=write,
)
