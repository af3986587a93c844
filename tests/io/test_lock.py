"""A lock ends with the process that took it, whatever that process has forked."""

import multiprocessing
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.lock import locked


def test_a_forked_process_does_not_hold_the_lock_of_its_parent(tmp_path: Path) -> None:
    """As workers that decode pictures, which outlive a killed parent by some seconds."""
    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()

    def wait() -> None:
        ready.set()
        over.wait(30)

    folder = tmp_path / "store"
    with locked(folder, "store"):
        (folder / "data").touch()
        worker = context.Process(target=wait)
        worker.start()
        assert ready.wait(30)
        with pytest.raises(UserError, match="store is being written by process"), locked(folder, "store"):
            pass  # of the parent itself, still
    try:
        assert worker.is_alive()
        with locked(folder, "store"):
            pass
    finally:
        over.set()
        worker.join()
