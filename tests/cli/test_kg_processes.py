"""`kg evaluate` and `kg train` in several processes say and write what they do in one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from mm_kptm import cli
from mm_kptm.knowledge.embedding.embeddings import Embeddings, load_embeddings, save_embeddings
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


def test_two_processes_train_and_the_first_writes(tmp_path: Path) -> None:
    """In mapped files, which are removed; ``tests/knowledge/embedding/test_in_processes.py`` compares the vectors."""
    (tmp_path / "graph.tsv").write_text("".join(f"a{number}\tr\ta{number + 1}\n" for number in range(40)))
    arguments = ("kg", "train", "graph.tsv", "--out", "new", "--loop", "shared", "--epochs", "1", "--mapped", "--json")
    codes = launching.start(command, 2, str(tmp_path), *arguments, said=tmp_path / "said")
    assert codes == [0, 0], said(tmp_path, "err", 2)
    first, second = said(tmp_path, "out", 2)
    assert json.loads(first)["filtered"].keys() == {"valid", "test"} and not second
    assert load_embeddings(tmp_path / "new").entity_vectors.shape[1] == 64
    assert not (tmp_path / ".new.tables").exists()


def test_loops_of_pykeen_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "graph.tsv").write_text("".join(f"a{number}\tr\ta{number + 1}\n" for number in range(40)))
    arguments = ("kg", "train", "graph.tsv", "--out", "new")
    assert launching.start(command, 2, str(tmp_path), *arguments, said=tmp_path / "said") == [2, 2]
    message = "vectors were to be trained in several processes, which pykeen's loop slcwa does not know; train with"
    assert message in "".join(said(tmp_path, "err", 2))
