"""Several processes train two towers on tars: each reads examples of its own, and a killed run goes on exactly.

The processes are real ones joined by gloo; one of them dies by SIGKILL between two checkpoints.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.webdataset import ImageTextSource
from mm_kptm.train import Checkpoints
from mm_kptm.train.parallel.processes import rank_and_world_size
from tests.train import launching

WORDS = ("red", "green", "blue", "black", "white", "grey", "brown", "pink", "gold", "teal", "lime")
BATCH, STEPS, SAVED, KILLED = 5, 6, 2, 4  # 11 examples: batches of 5, 5 and 1, which leaves all processes but one idle
EXPERIMENT = """
name: {name}
data: {{name: image-text-files, train: "{folder}/part-{{0..1}}.tar", vocabulary: "{folder}/vocab.txt", image_size: 8}}
encoder:
  recipe: dual-tower
  sizes:
    embed_dim: 8
    image: {{layers: 1, width: 8, head_width: 4, patch_size: 4, mlp_ratio: 2.0}}
    text: {{recipe: bert-base, num_layers: 1, dim: 8, num_heads: 2, ffn_dim: 16, max_positions: 80, dropout: 0.0}}
objectives: {{image-text-contrastive: 1.0, two-queue-contrast: 1.0}}
objective_arguments: {{two-queue-contrast: {{queue_size: 7}}}}
train:
  {{steps: {steps}, schedule: constant, warmup: 0.0, batch_size: {batch}, save_every: {saved}, log_every: 1, seed: 5,
    keep_last: 9}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tars of eleven pictures with texts, one of them corrupt, and a vocabulary."""
    folder, draws = tmp_path_factory.mktemp("tars"), np.random.default_rng(0)
    for part in range(2):
        with tarfile.open(folder / f"part-{part}.tar", "w") as tar:
            for number, word in list(enumerate(WORDS))[part * 6 : part * 6 + 6]:
                file = io.BytesIO()
                Image.fromarray(draws.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
                picture = b"no picture" if number == 4 else file.getvalue()
                for ending, content in (("png", picture), ("txt", f"a {word} wall".encode())):
                    member = tarfile.TarInfo(f"{number:03d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "wall", *WORDS]))
    return folder


def write(folder: Path, home: Path, name: str) -> None:
    settings = {"name": name, "folder": folder, "steps": STEPS, "batch": BATCH, "saved": SAVED}
    (home / f"{name}.yaml").write_text(EXPERIMENT.format(**settings))


def command(home: str, name: str, kill_at: int) -> None:
    """Train, note which examples this process reads in each step, and die in one step where that is asked."""
    os.chdir(home)
    rank, read, batches = int(os.environ.get("RANK", 0)), ImageTextSource.batch, []

    def noted(self, indices, generator):
        batches.append(list(indices))
        if len(batches) == kill_at and rank_and_world_size()[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, indices, generator)

    ImageTextSource.batch = noted
    code = cli.main(["train", f"{name}.yaml", "--resume"])
    Path(f"{name}-read-{rank}.json").write_text(json.dumps(batches))
    sys.exit(code)


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def weights(run: Path) -> bytes:
    found = Checkpoints(run).find("latest")
    assert found is not None and found.name == f"step-{STEPS:08d}"
    return (found / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_read_shares_and_a_killed_run_goes_on_exactly(folder: Path, tmp_path: Path, processes: int) -> None:
    for name in ("alone", "whole", "killed"):
        write(folder, tmp_path, name)
    runs, home = tmp_path / "runs", str(tmp_path)
    assert launching.start(command, 1, home, "alone", 0) == [0]
    assert launching.start(command, processes, home, "whole", 0) == [0] * processes
    codes = launching.start(command, processes, home, "killed", KILLED, said=tmp_path / "said")
    assert codes[1] == -signal.SIGKILL and codes[0] == 2
    assert launching.start(command, processes, home, "killed", 0, said=tmp_path / "said") == [0] * processes
    assert weights(runs / "killed") == weights(runs / "whole")
    assert losses(runs / "killed") == losses(runs / "whole")
    np.testing.assert_allclose(losses(runs / "whole"), losses(runs / "alone"), rtol=1e-5)

    (alone,) = read_by(tmp_path, "alone", 1)
    shares = read_by(tmp_path, "whole", processes)
    for step, batch in enumerate(alone):
        parts = [share[step] for share in shares]
        held = [part for place, part in enumerate(parts) if place < len(batch)]  # others stand in with the first
        assert sorted(one for part in held for one in part) == sorted(batch), "every example in one process"
    resumed = read_by(tmp_path, "killed", processes)
    assert resumed == [share[STEPS - len(resumed[0]) :] for share in shares]


def read_by(home: Path, name: str, processes: int) -> list[list[list[int]]]:
    return [json.loads((home / f"{name}-read-{rank}.json").read_text()) for rank in range(processes)]
