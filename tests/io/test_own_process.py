"""A call in a process of its own: what it writes, what it imports, how it ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.own_process import call_in_own_process
from mm_kptm.io.text_lines import read_text


def test_a_call_runs_elsewhere_and_a_sentence_of_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    call_in_own_process(exec, f"import os; open({str(file)!r}, 'w').write(str(os.getpid())); print('nobody reads it')")
    assert int(file.read_text()) != os.getpid()
    with pytest.raises(UserError, match=r"lacking"):
        call_in_own_process(read_text, tmp_path / "lacking", "a text")
    with pytest.raises(RuntimeError, match=r"the process of _exit ended with 3"):
        call_in_own_process(os._exit, 3)


def test_what_cannot_be_sent_is_called_here() -> None:
    called = []
    call_in_own_process(lambda number: called.append(number), 5)
    assert called == [5]


def test_what_builds_stores_imports_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "file"
    modules = "mm_kptm.preprocessing.tokenized_documents, mm_kptm.knowledge.graph.described_store"
    call_in_own_process(exec, f"import sys, {modules}; open({str(file)!r}, 'w').write(str('torch' in sys.modules))")
    assert file.read_text() == "False"


def test_it_ends_with_its_caller(tmp_path: Path) -> None:
    """The lock that both hold is free once the caller is killed."""
    lock = tmp_path / "lock"
    program = f"""
import fcntl, os, time
from mm_kptm.io.own_process import call_in_own_process
lock = open({str(lock)!r}, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
call_in_own_process(exec, "import os, time; os.kill(os.getppid(), 9); time.sleep(30)", keep_open=[lock.fileno()])
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with lock.open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX)
