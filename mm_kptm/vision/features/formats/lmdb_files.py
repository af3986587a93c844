"""Reading and writing of LMDB environments in constant memory.

Touched pages of the memory map count as memory of the process, so a reader reopens the environment periodically;
uncommitted writes stay in memory, so a writer commits periodically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from mm_kptm.errors import UserError
from mm_kptm.vision.features.formats.files import unfinished

CHUNK = 2**25  #: bytes after which an environment is reopened or committed
LARGEST = 2**42  #: map size in bytes; the file is sparse


def is_lmdb(path: Path) -> bool:
    """Whether a folder is an LMDB environment."""
    return (path / "data.mdb").is_file()


def value_of(path: Path, key: bytes) -> bytes | None:
    """Value of a key, or None."""
    with _opened(path) as environment, environment.begin() as transaction:
        value = transaction.get(key)
        return None if value is None else bytes(value)


def first_item(path: Path, skip: frozenset[bytes]) -> tuple[bytes, bytes] | None:
    """First key and value that is not skipped."""
    return next(items(path, skip), None) if is_lmdb(path) else None


def items(path: Path, skip: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Iterate over keys and values in key order.

    Raises:
        UserError: the folder is no LMDB environment, or it is damaged.
    """
    last, more = b"", True
    while more:
        more, num_bytes = False, 0
        with _opened(path) as environment, environment.begin(buffers=False) as transaction:
            cursor = transaction.cursor()
            there = cursor.set_range(last) if last else cursor.first()
            if last and there and cursor.key() == last:
                there = cursor.next()
            while there:
                last, value = cursor.item()
                if last not in skip:
                    yield last, value
                num_bytes += len(value)
                if num_bytes > CHUNK:
                    more = True
                    break
                there = cursor.next()


@contextmanager
def _opened(path: Path) -> Iterator[lmdb.Environment]:
    if not is_lmdb(path):
        raise UserError(f"{path} is no LMDB environment: {path / 'data.mdb'} is not there")
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=False) as environment:
            yield environment
    except lmdb.Error as error:
        raise UserError(f"{path} cannot be read as LMDB: {error}") from None


@contextmanager
def writer(
    path: Path, closing: Callable[[list[bytes]], tuple[bytes, bytes]]
) -> Iterator[Callable[[bytes, bytes], None]]:
    """Context manager: create an environment and yield a function that writes one item.

    Args:
        path: folder to create.
        closing: builds the last item from the list of written keys.

    Raises:
        UserError: a duplicate key, or one too long for LMDB.
    """
    keys: list[bytes] = []
    waiting: list[tuple[bytes, bytes]] = []
    size = 0
    with unfinished(path, folder=True) as part:
        with lmdb.open(str(part), map_size=LARGEST, sync=False, metasync=False, lock=False) as environment:

            def commit() -> None:
                with environment.begin(write=True) as transaction:
                    for key, value in waiting:
                        if not transaction.put(key, value, overwrite=False):
                            raise UserError(f"image {key.decode()!r} comes twice")
                waiting.clear()

            def put(key: bytes, value: bytes) -> None:
                nonlocal size
                if not 0 < len(key) <= environment.max_key_size():
                    raise UserError(
                        f"LMDB keys have 1 to {environment.max_key_size()} bytes, but {key[:40]!r} has {len(key)}"
                    )
                keys.append(key)
                waiting.append((key, value))
                size += len(value)
                if size > CHUNK:
                    size = 0
                    commit()

            yield put
            waiting.append(closing(keys))
            commit()
            environment.sync(True)
        (part / "lock.mdb").unlink(missing_ok=True)
