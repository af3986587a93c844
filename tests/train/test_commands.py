"""The commands of docs/many-processes.md, as they stand there, in their order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mm_kptm.train import Checkpoints, verify

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "many-processes.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def shell(command: str, folder: Path) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


@pytest.mark.slow
def test_the_page_on_many_processes_can_be_followed(tmp_path):
    (tmp_path / "small.yaml").write_text(blocks("yaml")[0])
    whole, sharded, launched, resume, evaluate = (block.strip() for block in blocks("sh"))
    runs = tmp_path / "runs"
    assert shell(whole, tmp_path) == "runs/whole\n"
    assert shell(sharded, tmp_path) == "runs/sharded\n"
    assert shell(launched, tmp_path) == "runs/launched\n"
    ways = [
        json.loads((runs / name / "environment.json").read_text())["parallel"]
        for name in ("whole", "sharded", "launched")
    ]
    assert ways == ["ddp", "fsdp", "fsdp"]
    before = losses(runs / "sharded")
    for other in ("whole", "launched"):
        assert losses(runs / other) == pytest.approx(before, rel=1e-4)

    Checkpoints(runs / "sharded").point("latest", Path("step-00000003"))  # as if it had been killed after that
    assert shell(resume, tmp_path) == "runs/sharded\n"
    assert losses(runs / "sharded")[:3] == before[:3] and len(losses(runs / "sharded")) == 6
    last = Checkpoints(runs / "sharded").find("latest")
    verify(last)
    assert last.name == "step-00000006" and len(list((last / "shards").iterdir())) == 3
    resumed = json.loads((runs / "sharded" / "environment.json").read_text())["resumed"]
    assert [(entry["step"], entry["processes"]) for entry in resumed] == [(3, 3)]

    assert "accuracy" in shell(evaluate, tmp_path)
    assert len((runs / "sharded" / "predictions" / "test.jsonl").read_text().splitlines()) == 21


@pytest.mark.slow
def test_a_mistake_under_torchrun_is_one_sentence_of_ours(tmp_path):
    (tmp_path / "small.yaml").write_text(blocks("yaml")[0])
    with pytest.raises(AssertionError) as failed:
        shell(blocks("sh")[0] + " --task=vqq", tmp_path)
    assert str(failed.value).count("mm-kptm: ") == 1 and "did you mean vqa?" in str(failed.value)
