"""Atomic writing: a file or folder appears complete under its name, or the previous one stays.

The content goes into a temporary file with a random name in the same folder, created exclusively so that no planted
link is followed; it is synced to disk and then renamed. A link at the target is followed, and a device or a pipe is
written to directly. A full disk or a refused path is one :class:`~mm_kptm.errors.UserError`.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from mm_kptm.errors import UserError

TEMPORARY = ".part"  #: suffix of temporary files and folders
REFUSALS = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EINVAL, errno.EIO, errno.EISDIR, errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM, errno.EROFS, errno.ETXTBSY,
    }
)  # fmt: skip
_FULL = frozenset({errno.EDQUOT, errno.EFBIG, errno.ENOSPC})


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file with the line ends of ``text``.

    Raises:
        UserError: as :func:`atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(text)


def write_json(path: str | Path, value: object, *, indent: int | None = None, ascii_only: bool = False) -> None:
    """Write one JSON value and a newline.

    Raises:
        UserError: as :func:`atomic_file`.
    """
    write_text(path, json.dumps(value, ensure_ascii=ascii_only, indent=indent) + "\n")


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines as they come, a newline after each.

    Raises:
        UserError: as :func:`atomic_file`.
    """
    with atomic_file(path) as file:
        file.writelines(line + "\n" for line in lines)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[TextIO]:
    """Context manager: open text file that takes its final name when the block ends without an exception.

    Raises:
        UserError: the path is a folder, the disk is full, or the location cannot be written.
    """
    if _is_device(Path(path)):
        with writing(path):
            device = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 closed below
        with writing(path, _FULL), device:
            yield device
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Context manager: temporary file path, for a library that writes to a path itself.

    Raises:
        UserError: as :func:`atomic_file`.
    """
    final = Path(os.path.realpath(path))
    with writing(path):
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_device(final):
            raise UserError(f"{path} is a device or a pipe and takes no such file; name a file")
        _make_parent(final)
        temporary = _temporary(final)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        mode = stat.S_IMODE((final.stat() if final.exists() else os.fstat(descriptor)).st_mode)
        os.close(descriptor)
    try:
        with writing(path, _FULL):
            yield temporary
        with writing(path):
            temporary.chmod(mode)  # a library may have replaced the file
            sync(temporary)
            temporary.replace(final)
            sync(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Context manager: temporary folder that takes its final name when the block ends without an exception.

    Raises:
        UserError: ``path`` already exists, the disk is full, or the location cannot be written.
    """
    final = Path(path)
    if os.path.lexists(final):
        raise UserError(f"{final} exists already; name a folder that does not")
    with writing(path):
        _make_parent(final)
        temporary = _temporary(final)
        temporary.mkdir()
    try:
        with writing(path, _FULL):
            yield temporary
        with writing(path):
            for inside in (*temporary.rglob("*"), temporary):
                sync(inside)
            temporary.rename(final)
            sync(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove temporary files and folders of killed processes, in sub-folders too; the caller holds the lock."""
    for path in sorted(folder.rglob(f".*{TEMPORARY}")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder where the file system can, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_parent(final: Path) -> None:
    if final.parent.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    final.parent.mkdir(parents=True, exist_ok=True)


def _temporary(final: Path) -> Path:
    return final.with_name(f".{final.name[:48]}.{secrets.token_hex(12)}{TEMPORARY}")


def _is_device(path: Path) -> bool:
    """Whether the path is a device, a pipe or a socket, which cannot be replaced by a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def writing(path: str | Path, refusals: frozenset[int] = REFUSALS) -> Iterator[None]:
    """Context manager around code that writes to ``path``; other exceptions than the listed ones pass through.

    Raises:
        UserError: the system refuses with one of ``refusals``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in refusals:
            raise
        remedy = "free some space, or name a place that has it" if error.errno in _FULL else "name another place"
        raise UserError(f"{path} cannot be written: {os.strerror(error.errno)}; {remedy}") from error
