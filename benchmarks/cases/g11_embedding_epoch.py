"""G11: epochs of knowledge graph embeddings, UMLS with TransE and RotatE of 64 dimensions, Adam, loss NSSA.

The peer is pykeen's loop with 32 negatives a triple, run as ``mm-kptm kg train`` runs it, without the objects of the
imports being looked through after every epoch. Ours has batches, loss, learning rate and constraints of the same, and
32 negatives a triple, which every four triples share. What must be equal is what is learnt: the filtered MRR on test.
"""

from __future__ import annotations

from importlib.metadata import version

from benchmarks.harness import OURS, PEER, Case, within
from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
from mm_kptm.knowledge.graph.splits import SplitGraph, open_splits

EPOCHS, LEARNT, NOISE = 3, 60, 0.03
VERSIONS = {"pykeen": version("pykeen")}


def _case(graph: SplitGraph, model: str, seed: int) -> Case:
    work = float(EPOCHS * len(graph.train))

    def train(loop: str, epochs: int = EPOCHS) -> float:
        trained = train_embeddings(graph, EmbeddingSettings(model=model, loop=loop, epochs=epochs, seed=seed))
        return work if len(trained.losses) == EPOCHS else 0.0

    def mrr(loop: str) -> float:
        asked = EmbeddingSettings(model=model, loop=loop, epochs=LEARNT, seed=seed)
        return evaluate_embeddings(train_embeddings(graph, asked).scorer, graph)["test"]["mrr"]

    def check() -> dict[str, float]:
        """By how much ours is the lower; seeds differ by as much as is let pass."""
        return within({"mrr below": max(0.0, mrr("slcwa") - mrr("shared"))}, {"mrr below": NOISE}, "g11")

    return Case(
        name="g11" if model == "transe" else f"g11-{model}",
        title=f"epochs of {model}, UMLS, 64 dimensions, batches of 256",
        unit="triples",
        work=work,
        variants={PEER: lambda: train("slcwa"), OURS: lambda: train("shared")},
        check=check,
        sizes={"entities": len(graph.entities), "relations": len(graph.relations), "triples": len(graph.train)},
    )


def build(seed: int = 0) -> tuple[Case, ...]:
    """One case for each model."""
    graph = open_splits("pykeen:umls")
    return tuple(_case(graph, model, seed) for model in ("transe", "rotate"))
