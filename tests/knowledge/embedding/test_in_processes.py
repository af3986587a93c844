"""Several processes train the vectors that one trains, of the same batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mm_kptm.knowledge.embedding.shared_negatives import SharedNegatives, SharedNegativesTraining
from mm_kptm.train.parallel.processes import is_main_process, process_group
from tests.train import launching


def trained(model: str, folder: Path | None = None) -> dict[str, object]:
    """Tables and losses after two epochs on made triples; the last batch has one block."""
    generator = torch.Generator().manual_seed(0)
    triples = torch.stack([torch.randint(size, (57,), generator=generator) for size in (40, 3, 40)], dim=1)
    loss = "softplus" if model == "complex" else "nssa"
    settings = SharedNegatives(model, 4, batch_size=24, block=10, negatives=10, epochs=2, lr=0.05, loss=loss)
    training = SharedNegativesTraining(triples, 40, 3, settings, folder=folder)
    losses = training.epochs()
    return {"entities": training.entities, "relations": training.relations, "losses": losses}


def train_and_save(folder: str, model: str, mapped: bool) -> None:
    with process_group():
        found = trained(model, Path(folder) / "tables" if mapped else None)
        if is_main_process():
            torch.save(found, Path(folder) / "vectors.pt")


@pytest.mark.parametrize(("model", "processes", "mapped"), [("rotate", 2, False), ("complex", 2, True)])
def test_several_processes_train_the_vectors_of_one(model: str, processes: int, mapped: bool, tmp_path: Path) -> None:
    """Also where a batch has fewer blocks than there are processes, and with tables in files that all of them map."""
    assert launching.start(train_and_save, processes, str(tmp_path), model, mapped) == [0] * processes
    found, expected = torch.load(tmp_path / "vectors.pt"), trained(model)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)
