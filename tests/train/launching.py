"""Processes joined as ``torchrun`` joins them, without the seconds that it takes to start."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["mm_kptm.train", "mm_kptm.experiment", "tests.train.toy", "torch._dynamo"]  # the optimiser imports the last
)


def start(target: Callable[..., None], processes: int, *arguments: Any, said: Path | None = None) -> list[int | None]:
    """Call ``target(*arguments)`` in that many processes and return their exit codes.

    What process n prints goes to ``said/out-n`` and ``said/err-n``.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(0, 60))
    started = [
        _CONTEXT.Process(target=_joined, args=(rank, processes, store.port, said, target, arguments))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        process.kill()
        process.join()
    return [process.exitcode for process in started]


def _joined(
    rank: int, processes: int, port: int, said: Path | None, target: Callable[..., None], arguments: Any
) -> None:
    if processes > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True",
            CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1",
        )  # fmt: skip
    torch.set_num_threads(1)
    if said is not None:
        said.mkdir(parents=True, exist_ok=True)
        for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
            os.dup2(os.open(said / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    target(*arguments)
