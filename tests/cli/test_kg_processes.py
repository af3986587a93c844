"""`kg evaluate` in several processes says what it says in one; `kg train` is refused there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from mm_kptm import cli
from mm_kptm.knowledge.embedding.embeddings import Embeddings, save_embeddings
from tests.train import launching


def command(folder: str, *arguments: str) -> None:
    os.chdir(folder)
    sys.exit(cli.main(arguments))


def said(folder: Path, stream: str, processes: int) -> list[str]:
    return [(folder / "said" / f"{stream}-{rank}").read_text() for rank in range(processes)]


def test_two_processes_rank_as_one_does(tmp_path: Path) -> None:
    names = [f"e{number}" for number in range(9)]
    graph = tmp_path / "graph"
    graph.mkdir()
    triples = [f"{head}\tr\t{tail}\n" for head in names for tail in names if head != tail]
    for part, some in (("train", triples), ("valid", triples[:1]), ("test", triples[5:18])):
        (graph / f"{part}.tsv").write_text("".join(some))
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    save_embeddings(Embeddings(tuple(names), vectors, ("r",), vectors[:1].clone(), "transe"), tmp_path / "vectors")

    found = []
    for processes in (1, 2):
        arguments = ("kg", "evaluate", "vectors", "graph", "--json")
        codes = launching.start(command, processes, str(tmp_path), *arguments, said=tmp_path / "said")
        assert codes == [0] * processes, said(tmp_path, "err", processes)
        first, *others = said(tmp_path, "out", processes)
        assert others == [""] * (processes - 1)
        found.append(json.loads(first))
    assert found[0] == found[1] and found[0]["filtered"].keys() == {"valid", "test"}

    codes = launching.start(command, 2, str(tmp_path), "kg", "train", "graph", "--out", "new", said=tmp_path / "said")
    assert codes == [2, 2]
    assert "kg train runs in one process, but 2 were launched" in "".join(said(tmp_path, "err", 2))
