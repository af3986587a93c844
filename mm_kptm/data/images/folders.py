"""Image files of a folder, by names that never lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def pictures_in(folder: Path) -> list[str]:
    """Names of the image files below a folder, relative to it with ``/``, in order.

    Hidden files and links that lead out of the folder (:func:`links_out_of`) are not among them.

    Raises:
        UserError: the folder is not there or holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"pictures were looked for in {folder}, which is no folder")
    found = [name for name, leaves in _files(folder) if not leaves]
    if not found and (links := links_out_of(folder)):
        raise UserError(
            f"{folder} holds no picture but links that lead out of it ({len(links)}, such as {links[0]}), which are "
            "not followed; name the folder that they lead to, or copy the pictures"
        )
    if not found:
        raise UserError(f"{folder} holds no picture; files of these kinds are read: {', '.join(SUFFIXES)}")
    return sorted(found)


def links_out_of(folder: Path) -> list[str]:
    """Names below a folder that are links to files elsewhere, in order."""
    return sorted(name for name, leaves in _files(folder) if leaves)


def _files(folder: Path) -> Iterator[tuple[str, bool]]:
    """Names of files that look like images, and whether each is a link that leads out of the folder."""
    root = folder.resolve()
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            path = Path(place) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                leaves = path.is_symlink() and not path.resolve().is_relative_to(root)
                yield path.relative_to(folder).as_posix(), leaves


def inside(folder: Path, name: str) -> Path:
    """The path of ``name`` in ``folder``.

    Raises:
        UserError: the name leads out of the folder.
    """
    path = folder / name
    if not name or "\0" in name or Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"picture name {name!r} leads out of {folder}")
    return path
