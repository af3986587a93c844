"""Projections whose batch norm is synchronised: several processes compute what one does with all rows."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm.crosslingual.modules.queued_contrast import Projection
from mm_kptm.crosslingual.objectives.entity_definition import EntityDefinition, ObjectEntailment
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.recipes.xlm_k import configured_heads
from mm_kptm.objectives.mixture import required_heads
from mm_kptm.train.parallel.processes import rank_and_world_size, standing_in, start
from tests.train import launching

DIM = 6
SHARES = {"even": (4, 4), "uneven": (5, 2, 1), "one-row-each": (1, 1), "stand-in": (3, 0)}


def rows() -> torch.Tensor:
    return 3 + 2 * torch.randn(8, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def projection(sync_bn: bool) -> Projection:
    torch.manual_seed(1)
    return Projection(DIM, 2, sync_bn=sync_bn).double()


def results(model: Projection, x: torch.Tensor, scored: torch.Tensor) -> dict[str, torch.Tensor]:
    """Projected rows, gradients of the rows and parameters, and running statistics behind two steps."""
    found = {}
    for step in range(2):
        given = x.clone().requires_grad_()
        projected = model(given)
        model.zero_grad()
        (projected.sin() * scored).sum().backward()
        found |= {f"{step}.rows": projected.detach(), f"{step}.gradient": given.grad}
    found |= {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return found | {name: weight.data for name, weight in model.named_parameters() if "running" in name}


def work(folder: str, shares: tuple[int, ...]) -> None:
    start()
    rank = rank_and_world_size()[0]
    first = sum(shares[:rank])
    own = slice(first, first + shares[rank])
    stands_in = shares[rank] == 0
    x, scored = (rows()[:1], torch.zeros(1, 1)) if stands_in else (rows()[own], weights()[own])
    with standing_in() if stands_in else nullcontext():
        found = results(projection(sync_bn=True), x, scored)
    torch.save(found, Path(folder) / f"found-{rank}.pt")


def weights() -> torch.Tensor:
    return torch.arange(1, 9, dtype=torch.double)[:, None]


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
def test_several_processes_normalise_as_one_with_all_rows(shares: tuple[int, ...], tmp_path: Path) -> None:
    assert launching.start(work, len(shares), str(tmp_path), shares) == [0] * len(shares)
    expected = results(projection(sync_bn=False), rows()[: sum(shares)], weights()[: sum(shares)])
    parts = [torch.load(tmp_path / f"found-{rank}.pt") for rank in range(len(shares))]
    for name, whole in expected.items():
        if name[0].isdigit():
            found = torch.cat([part[name] for part, share in zip(parts, shares, strict=True) if share])
        elif "running" in name:
            for part in parts:
                torch.testing.assert_close(part[name], whole, msg=name)
            continue
        else:
            found = torch.stack([part[name] for part in parts]).sum(0)
        torch.testing.assert_close(found, whole, msg=name)


def test_one_process_normalises_as_without_and_evaluation_reads_running_statistics() -> None:
    synchronised, plain = projection(sync_bn=True), projection(sync_bn=False)
    torch.testing.assert_close(results(synchronised, rows(), weights()), results(plain, rows(), weights()))
    torch.testing.assert_close(synchronised.eval()(rows()[:1]), plain.eval()(rows()[:1]))


def test_a_configuration_and_both_objectives_ask_for_it() -> None:
    heads = configured_heads({"args": {"sync_bn": True, "head_layers": 2}})
    assert heads["entity-definition"] == {"num_layers": 2, "sync_bn": True}
    masking = FairseqMasking(mask_id=29, vocab_size=30, rate=0.4)
    for objective in (EntityDefinition(masking, sync_bn=True), ObjectEntailment(sync_bn=True)):
        sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 30, "max_positions": 20}
        wanted = {"masked-tokens": {}, **required_heads(objective)}
        head = mm_kptm.build("xlm-k-base", heads=wanted, seed=0, **sizes).head(objective.name)
        assert all(norm.sync_bn for side in (head.word, head.document) for norm in side.norms)
