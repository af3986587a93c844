"""A token store is built once, whatever interrupts it, and reads as what would have been in memory."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.data import token_store
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized, narrowest, stored, tokenized
from mm_kptm.errors import UserError

SOURCE = {"train": "0123", "lowercase": True}


class Counted:
    """Tokenizes a number n as n tokens n, and counts its calls; 0 is dropped."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, items):
        self.calls.append(tuple(items))
        kept = [item for item in items if item]
        rows = Packed.of(ids=[[item] * item for item in kept], signs=[[-item] * item for item in kept])
        return Tokenized(rows, {"kind": np.array(kept, dtype=np.int64) % 2}, {"zeros": len(items) - len(kept)})


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are counted here; ``tests/io/test_own_process.py`` has the other process."""
    monkeypatch.setattr(token_store, "call_in_own_process", lambda build, *given, keep_open: build(*given))


def numbers():
    return iter([3, 1, 0, 300, 2, 0, 5])


def content(found: Tokenized) -> object:
    columns = {name: (column.dtype.name, column.tolist()) for name, column in found.rows.columns.items()}
    kinds = {name: (column.dtype.name, column.tolist()) for name, column in found.of_sequences.items()}
    return found.rows.offsets.tolist(), columns, kinds, dict(found.dropped)


def test_a_store_reads_as_the_sequences_in_memory(tmp_path: Path) -> None:
    tokenize = Counted()
    found = stored(tmp_path / "store", numbers, tokenize, source=SOURCE, shard=2)
    assert [len(call) for call in tokenize.calls] == [2, 2, 2, 1]
    assert content(found) == content(tokenized(numbers(), Counted()))
    assert all(isinstance(column, np.memmap) for column in (found.rows.offsets, *found.rows.columns.values()))
    assert found.rows.columns["ids"].dtype == np.uint16 and found.rows.columns["signs"].dtype == np.int16
    assert found.dropped == {"zeros": 2}
    assert content(stored(tmp_path / "store", numbers, tokenize, source=SOURCE)) == content(found)
    assert len(tokenize.calls) == 4, "it is built once"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "store"]


def test_nothing_is_a_store_too(tmp_path: Path) -> None:
    assert len(stored(tmp_path / "store", lambda: iter(()), Counted(), source={}).rows) == 0


def build(folder: str, shards: int) -> None:
    """Build with a tokenizer that is killed behind some shards."""
    tokenize = Counted()

    def killed(items):
        if len(tokenize.calls) == shards:
            os.kill(os.getpid(), signal.SIGKILL)
        return tokenize(items)

    stored(Path(folder), numbers, killed, source=SOURCE, shard=2)


def test_a_killed_build_goes_on_behind_its_shards(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=build, args=(str(tmp_path / "store"), 3))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (tmp_path / "store").exists()
    tokenize = Counted()
    found = stored(tmp_path / "store", numbers, tokenize, source=SOURCE, shard=2)
    assert tokenize.calls == [(5,)]
    assert content(found) == content(tokenized(numbers(), Counted()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "store"]


def test_shards_of_something_else_are_not_taken(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=build, args=(str(tmp_path / "store"), 3))
    process.start()
    process.join()
    tokenize = Counted()
    stored(tmp_path / "store", numbers, tokenize, source={"train": "4567"}, shard=2)
    assert len(tokenize.calls) == 4


def test_who_comes_while_another_builds_waits_and_finds_the_store(tmp_path: Path, monkeypatch) -> None:
    """The lock of the other is released by the wait itself, and the store is there then."""
    folder = tmp_path / "store"
    flock = fcntl.flock

    def wait(lock, kind):
        flock(lock, kind)
        monkeypatch.setattr(token_store.fcntl, "flock", flock)
        os.unlink(lock.name)  # the other process had another lock
        stored(folder, numbers, Counted(), source=SOURCE)

    monkeypatch.setattr(token_store.fcntl, "flock", wait)
    tokenize = Counted()
    stored(folder, numbers, tokenize, source=SOURCE)
    assert not tokenize.calls


def test_a_store_of_other_files_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    stored(folder, numbers, Counted(), source=SOURCE)
    with pytest.raises(UserError, match=r"store was built from other files, with another tokenizer or with other set"):
        stored(folder, numbers, Counted(), source={"train": "4567"})
    np.save(folder / "ids.npy", np.zeros(3, np.uint16))
    with pytest.raises(UserError, match=r"ids.npy does not hold what store.json says; remove .*store$"):
        stored(folder, numbers, Counted(), source=SOURCE)
    (folder / "store.json").unlink()
    with pytest.raises(UserError, match=r"store is no token store: it has no store.json; name a folder that does not"):
        stored(folder, numbers, Counted(), source=SOURCE)


def test_integers_are_as_narrow_as_what_they_hold() -> None:
    for low, high, kind in (
        (0, 255, "uint8"),
        (0, 256, "uint16"),
        (-1, 127, "int8"),
        (-1, 128, "int16"),
        (7, 1 << 40, "int64"),
    ):
        assert narrowest(np.array([low, high])).name == kind
