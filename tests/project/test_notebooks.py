"""The notebooks run, each in a process of its own, in the tiny tier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

#: What a notebook has to print at the end of its way, however little it trains.
PRINTED = {
    "1-own-pictures": ["of 40 answers are right", "runs/own-pictures/report.html"],
    "2-own-graph": ["{is ", "without-graph: ", "with-graph: ", "report.html"],
    "3-own-languages": ["masked-tokens: ", "translation-language-modeling: ", "chance is 4%"],
    "4-compare-honestly": ["without-facts over with-facts", "knowledge use", "compared-honestly/report.html"],
    "5-add-a-system": ["True\ntorch.Size([2, 8])", "of answers are right"],
}


def cells(notebook: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_is_one_for_every_first_week() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == list(PRINTED)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_is_whole_and_without_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    for cell in content["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"] == [] and cell["execution_count"] is None)
    assert cells(notebook, "markdown")[0].startswith("# ")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(notebook: Path, root: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MM_KPTM_TIER": "tiny",
    }
    # by -c, as in a notebook, there is no main file that spawned workers would run again
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(cells(notebook, "code"))],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for text in PRINTED[notebook.stem]:
        assert text in done.stdout, done.stdout
