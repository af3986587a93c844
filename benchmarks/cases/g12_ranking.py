"""G12: filtered ranks of heads and tails, UMLS with TransE and RotatE of 64 dimensions.

The peer is pykeen's evaluator as the documentation calls it; the careful peer gives it larger batches. The tables hold
few distinct values, so that scores tie often and sums are exact: every rank must be the same, best and worst among
equals too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import torch
from pykeen.datasets import UMLS
from pykeen.evaluation import RankBasedEvaluator
from pykeen.models import ERModel
from pykeen.nn.init import PretrainedInitializer
from pykeen.nn.modules import RotatEInteraction, TransEInteraction
from torch import Tensor

from benchmarks.harness import OURS, PEER, Case, within
from mm_kptm.knowledge.embedding.ranking import BothSides, measures, rank
from mm_kptm.knowledge.embedding.scoring import RotatE, TransE

DIM, BATCH = 64, 256
VERSIONS = {"pykeen": version("pykeen")}


class _Kept(RankBasedEvaluator):
    """pykeen's evaluator, whose ranks can be read once it is done."""

    def __init__(self) -> None:
        super().__init__(filtered=True, clear_on_finalize=False)


def _tables(data: UMLS, name: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Entities of few values; relations that step (TransE) or turn by quarters (RotatE)."""

    def drawn(rows: int, *shape: int) -> Tensor:
        return torch.randint(-1, 2, (rows, *shape), generator=generator).float() / 2

    if name == "transe":
        return drawn(data.num_entities, DIM), drawn(data.num_relations, DIM)
    quarters = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    turns = quarters[torch.randint(4, (data.num_relations, DIM), generator=generator)]
    return drawn(data.num_entities, DIM, 2), turns


def _case(data: UMLS, name: str, generator: torch.Generator) -> Case:
    entities, relations = _tables(data, name, generator)
    interaction, score = {
        "transe": (TransEInteraction(p=1), TransE),
        "rotate": (
            RotatEInteraction(),
            lambda e, r: RotatE(torch.view_as_complex(e), torch.view_as_complex(r)),
        ),
    }[name]
    shape = {"dtype": torch.complex64} if name == "rotate" else {}
    model = ERModel(
        triples_factory=data.training,
        interaction=interaction,
        entity_representations_kwargs={"shape": (DIM,), "initializer": PretrainedInitializer(entities), **shape},
        relation_representations_kwargs={"shape": (DIM,), "initializer": PretrainedInitializer(relations), **shape},
    ).eval()
    model.requires_grad_(False)  # what counts operators would look for gradients that evaluation forbids
    test = data.testing.mapped_triples
    others = [data.training.mapped_triples, data.validation.mapped_triples]
    known = torch.cat([*others, test])
    work = float(2 * len(test))

    def evaluated(evaluator: RankBasedEvaluator, batch: int | None) -> float:
        found = evaluator.evaluate(model, test, additional_filter_triples=others, batch_size=batch, use_tqdm=False)
        return float(found.get_metric("both.realistic.inverse_harmonic_mean_rank"))

    def ours() -> BothSides:
        return rank(score(entities, relations), test, known)

    def does_all(reciprocal: Callable[[], float]) -> Callable[[], float]:
        return lambda: work if reciprocal() > 0 else 0.0

    def check() -> dict[str, float]:
        """Ranks that differ: none may."""
        kept = _Kept()
        theirs, found = evaluated(kept, BATCH), ours()
        differing = 0.0
        for (side, kind), batches in kept.ranks.items():
            if kind in ("optimistic", "pessimistic"):
                truth = torch.cat([torch.as_tensor(batch) for batch in batches])
                mine = getattr(found.heads if side == "head" else found.tails, kind)
                differing += float((mine != truth).sum()) if len(truth) == len(mine) else float("nan")
        tied = float((found.both.optimistic != found.both.pessimistic).sum())
        differences = {"ranks": differing, "mrr": abs(theirs - measures(found.both)["mrr"]), "untied": work - tied}
        return within(differences, {"ranks": 0.0, "mrr": 1e-6, "untied": work - 1}, "g12")

    return Case(
        name="g12" if name == "transe" else f"g12-{name}",
        title=f"filtered ranks of heads and tails, UMLS, {score_name(name)} of {DIM}",
        unit="ranks",
        work=work,
        variants={
            PEER: does_all(lambda: evaluated(RankBasedEvaluator(), None)),
            "careful peer": does_all(lambda: evaluated(RankBasedEvaluator(), BATCH)),
            OURS: does_all(lambda: measures(ours().both)["mrr"]),
        },
        check=check,
        sizes={"entities": data.num_entities, "relations": data.num_relations, "triples": len(test), "dim": DIM},
    )


def score_name(name: str) -> str:
    """As it is written in the papers."""
    return {"transe": "TransE", "rotate": "RotatE"}[name]


def build(seed: int = 0) -> tuple[Case, ...]:
    """The case with the cheapest and with the dearest score."""
    generator = torch.Generator().manual_seed(seed)
    data = UMLS()
    return tuple(_case(data, name, generator) for name in ("transe", "rotate"))
