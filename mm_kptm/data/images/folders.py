"""Image files of a folder, by names that never lead out of it."""

from __future__ import annotations

import os
from pathlib import Path

from mm_kptm.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def pictures_in(folder: Path) -> list[str]:
    """Names of the image files below a folder, relative to it with ``/``, in order.

    Hidden files and links that lead out of the folder are skipped.

    Raises:
        UserError: the folder is not there or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"pictures were looked for in {folder}, which is no folder")
    root = folder.resolve()
    found = []
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            path = Path(place) / name
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            found.append(path.relative_to(folder).as_posix())
    if not found:
        raise UserError(f"{folder} holds no picture; files of these kinds are read: {', '.join(SUFFIXES)}")
    return sorted(found)


def inside(folder: Path, name: str) -> Path:
    """The path of ``name`` in ``folder``.

    Raises:
        UserError: the name leads out of the folder.
    """
    path = folder / name
    if not name or "\0" in name or Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"picture name {name!r} leads out of {folder}")
    return path
