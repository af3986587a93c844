"""Link prediction on the graph of Atlas by the verbs of this package and by pykeen's own pipeline, side by side.

    python -m benchmarks.atlas_graph
    python -m benchmarks.atlas_graph --seeds 5 --epochs 60

Both train TransE with the same settings on the same files, and rank the same facts; filtered, both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
from pathlib import Path

from mm_kptm import cli

SETTINGS = {"dimension": 64, "lr": 0.01, "margin": 6.0, "batch": 256, "negatives": 32}


def ours(graph: Path, vectors: Path, *, epochs: int, seed: int) -> tuple[float, float]:
    """MRR and hits at 10 of ``kg train`` and ``kg evaluate``."""
    asked = ["kg", "train", str(graph), "--out", str(vectors), "--epochs", str(epochs), "--seed", str(seed)]
    said(asked)
    found = json.loads(said(["kg", "evaluate", str(vectors), str(graph), "--json"]))["filtered"]["test"]
    return found["mrr"], found["hits@10"]


def said(arguments: list[str]) -> str:
    """What a command prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        if cli.main(arguments):
            raise SystemExit(f"mm-kptm {' '.join(arguments)} failed: {printed.getvalue()}")
    return printed.getvalue()


def theirs(graph: Path, *, epochs: int, seed: int) -> tuple[float, float]:
    """MRR and hits at 10 of pykeen's pipeline."""
    from pykeen.pipeline import pipeline
    from pykeen.triples import TriplesFactory

    train = TriplesFactory.from_path(graph / "train.tsv")
    entities, relations = train.entity_to_id, train.relation_to_id
    valid, test = (
        TriplesFactory.from_path(graph / f"{part}.tsv", entity_to_id=entities, relation_to_id=relations)
        for part in ("valid", "test")
    )
    found = pipeline(
        training=train,
        validation=valid,
        testing=test,
        model="TransE",
        model_kwargs={"embedding_dim": SETTINGS["dimension"]},
        loss="nssa",
        loss_kwargs={"margin": SETTINGS["margin"]},
        optimizer="Adam",
        optimizer_kwargs={"lr": SETTINGS["lr"]},
        negative_sampler_kwargs={"num_negs_per_pos": SETTINGS["negatives"]},
        random_seed=seed,
        device="cpu",
        training_kwargs={"num_epochs": epochs, "batch_size": SETTINGS["batch"], "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
    )
    return (
        found.get_metric("both.realistic.inverse_harmonic_mean_rank"),
        found.get_metric("both.realistic.hits_at_10"),
    )


def main() -> None:
    """Print both figures of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph"
        said(["data", "export", "atlas-graph", "--out", str(graph)])
        for seed in range(options.seeds):
            mrr, hits = ours(graph, Path(folder) / f"vectors-{seed}", epochs=options.epochs, seed=seed)
            print(f"seed {seed}: kg train and evaluate: MRR {mrr:.3f}, hits@10 {100 * hits:.1f} %", flush=True)
            mrr, hits = theirs(graph, epochs=options.epochs, seed=seed)
            print(f"seed {seed}: pykeen's pipeline:      MRR {mrr:.3f}, hits@10 {100 * hits:.1f} %", flush=True)


if __name__ == "__main__":
    main()
