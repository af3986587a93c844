"""The benchmarks of a CUDA device say without one what they would do, and run through at tiny sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import main, run
from benchmarks.gpu.blocks import BLOCKS, Block
from benchmarks.gpu.timing import Way


def test_without_a_device_it_says_what_it_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No CUDA device is here")
    assert all(f"\n{name} " in said for name in BLOCKS)
    assert sum(block.seconds for block in BLOCKS.values()) <= 600
    assert {f"H{number}" for number in range(1, 10)} <= BLOCKS.keys()


@pytest.mark.parametrize("block", ["A", "H9"])
def test_a_block_runs_through_at_tiny_sizes(block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lines.jsonl"
    assert main([block, "--dry", "--out", str(out)]) == 0
    first, *lines = (json.loads(line) for line in out.read_text().splitlines())
    assert out.read_text() == capsys.readouterr().out
    assert first["dry"] is True
    assert len(lines) >= 2
    assert all(line["block"] == block and line["ms"] > 0 and line["rows_per_s"] > 0 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("block", ["H1", "H5", "H6", "H7", "H8"])
def test_a_block_of_whole_systems_runs_through(block: str) -> None:
    assert main([block, "--dry"]) == 0


def test_a_way_that_does_other_work_has_no_time_and_a_failure_stops_no_other_block() -> None:
    def ways(device: torch.device, dry: bool) -> Iterator[Way]:
        yield Way("one", lambda: torch.tensor(1.0), rows=1)
        yield Way("another", lambda: torch.tensor(2.0), rows=1)
        yield Way("dropped out", lambda: torch.tensor(3.0), rows=1, compared=False)
        raise ValueError("it broke")

    lines: list[Mapping[str, Any]] = []
    assert not run("X", Block("a title", "a goal", 60, ways), dry=True, say=lines.append)
    assert "ms" in lines[0] and "ms" in lines[2]
    assert "ms" not in lines[1] and lines[1]["unequal"] == "the loss is 2, that of the first way 1"
    assert lines[3]["failed"] == "ValueError: it broke"


def test_an_unknown_block_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["H99"])
    assert "no block is called H99; there are A, H1" in capsys.readouterr().err
