"""Lock of a folder: one process at a time writes there; the system releases the lock when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mm_kptm.errors import UserError

LOCK = ".lock"  #: file in the folder; a leftover one locks nothing
_NEW = 0o644
_HELD: set[int] = set()  #: descriptors of this process's locks


def _let_go() -> None:
    """Close the locks in a forked child: a lock lasts as long as any process has it open, a dead parent's too."""
    for descriptor in _HELD:
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path, what: str = "run folder") -> Iterator[None]:
    """Context manager: hold the lock of a folder, which is made where it is missing.

    A folder that holds nothing but the lock at the end is removed again, with the parents that were made for it.

    Args:
        folder: the folder to write to.
        what: kind of folder, for the message.

    Raises:
        UserError: another process holds the lock (the message names it), or the folder cannot be made.
    """
    made = [ancestor for ancestor in folder.parents if not ancestor.exists()]  # the nearest first
    descriptor = _acquired(folder, what)
    _HELD.add(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):
            if os.listdir(folder) == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()
                for ancestor in made:
                    ancestor.rmdir()
        if descriptor in _HELD:
            _HELD.discard(descriptor)
            os.close(descriptor)


def _acquired(folder: Path, what: str) -> int:
    """Descriptor of the lock file, locked and known to be the one that lies in the folder."""
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _NEW)
        except FileNotFoundError:  # another process has just removed the empty folder
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}; name another place") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise UserError(
                f"the {what} {folder} is being written by {holder or 'another process'}; wait until it ends, or name "
                "another folder"
            ) from None
        except OSError:  # a file system without locks
            return descriptor
        if _is_at(descriptor, path):
            with suppress(OSError):  # a full disk: the lock holds without a name
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still lies at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
