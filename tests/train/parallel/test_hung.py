"""A process that hangs does not hold the others for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.train.parallel.processes import TIMEOUT, start

PROGRAM = """
import os, sys, time
from mm_kptm.errors import UserError
from mm_kptm.train.parallel.processes import barrier, process_group
try:
    with process_group():
        if os.environ["RANK"] == "1":
            time.sleep(600)
        barrier()
except UserError as error:
    print(error, flush=True)
    sys.exit(2)
"""


@pytest.mark.slow
def test_the_others_end_with_a_sentence(tmp_path: Path) -> None:
    program = tmp_path / "hang.py"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(launch, env={**os.environ, TIMEOUT: "15"}, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "another process of this launch did not answer within the time that MM_KPTM_TIMEOUT gives it" in done.stdout


def test_the_timeout_is_handed_on_whatever_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """`accelerate` gives what it is called with to `torch.distributed.init_process_group`, of gloo and of NCCL."""
    given: list[dict[str, object]] = []
    monkeypatch.setattr(
        "accelerate.PartialState", lambda **how: given.append(how) or SimpleNamespace(device=torch.device("cpu"))
    )
    start()
    monkeypatch.setenv(TIMEOUT, "600")
    start()
    assert [how.get("timeout") for how in given] == [None, timedelta(seconds=600)]


@pytest.mark.parametrize("seconds", ["soon", "-1", "0", "1e3", "²"])
def test_a_timeout_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv(TIMEOUT, seconds)
    with pytest.raises(UserError, match=r"MM_KPTM_TIMEOUT is .* but must be a whole number of seconds, such as 600"):
        start()
