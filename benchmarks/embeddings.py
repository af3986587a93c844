"""Embeddings of pykeen's small graphs, ours and by pykeen's own pipeline, with the same settings and seeds.

    python -m benchmarks.embeddings OUT.jsonl

trains every model on every graph with three seeds, on either side, and writes a line for each; lines that are there
already are not made again. The table of docs/knowledge.md is what it prints in the end. Both sides run without the
objects of the imports being looked through after every epoch, which would be most of pykeen's time.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

from pykeen.pipeline import pipeline

from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
from mm_kptm.knowledge.graph.splits import open_splits

GRAPHS, MODELS, SEEDS = ("nations", "umls", "kinships"), ("transe", "distmult", "complex", "rotate"), range(3)
OURS, PEER = "mm-kptm", "pykeen"
METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
# written out rather than taken from our settings: that they are the same is what is shown
CONTRAST = {
    "training_loop": "slcwa",
    "negative_sampler_kwargs": {"num_negs_per_pos": 32},
    "loss": "nssa",
    "loss_kwargs": {"margin": 6.0, "adversarial_temperature": 1.0},
}
LOGISTIC = {"training_loop": "slcwa", "negative_sampler_kwargs": {"num_negs_per_pos": 32}, "loss": "softplus"}
CHOICE = {"training_loop": "lcwa", "loss": "crossentropy"}
HOW = {"transe": CONTRAST, "rotate": CONTRAST, "complex": LOGISTIC, "distmult": CHOICE}

Row = Mapping[str, str | int | float]


def ours(graph: str, model: str, seed: int) -> dict[str, float]:
    """The measures on test after training as ``mm-kptm kg train`` does."""
    parts = open_splits(f"pykeen:{graph}")
    trained = train_embeddings(parts, EmbeddingSettings(model=model, seed=seed))
    found = evaluate_embeddings(trained.scorer, parts)["test"]
    return {**{name: found[name] for name in METRICS}, "loss": trained.losses[-1]}


def peers(graph: str, model: str, seed: int) -> dict[str, float]:
    """The same by pykeen's pipeline, its evaluator included."""
    done = pipeline(
        dataset=graph,
        model=model,
        model_kwargs={"embedding_dim": 64},
        optimizer="adam",
        optimizer_kwargs={"lr": 0.01},
        training_kwargs={"num_epochs": 200, "batch_size": 256, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
        random_seed=seed,
        device="cpu",
        **HOW[model],
    )
    return {**{name: done.get_metric(name) for name in METRICS}, "loss": done.losses[-1]}


SIDES = {OURS: ours, PEER: peers}


def run(file: Path, sides: list[str]) -> list[Row]:
    """Every line of the file, those that were missing made."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    made = {(row["side"], row["graph"], row["model"], row["seed"]) for row in rows}
    for case in ((side, g, m, s) for m in MODELS for g in GRAPHS for s in SEEDS for side in sides):
        if case in made:
            continue
        side, graph, model, seed = case
        gc.collect()
        gc.freeze()
        begin = time.process_time()
        found = SIDES[side](graph, model, seed)
        seconds = time.process_time() - begin
        rows.append({"side": side, "graph": graph, "model": model, "seed": seed, **found, "cpu_seconds": seconds})
        with file.open("a") as lines:
            lines.write(json.dumps(rows[-1]) + "\n")
    return rows


def table(rows: list[Row]) -> str:
    """Mean and standard deviation over seeds, and the largest difference between the sides with the same seed."""
    by_side: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        by_side[str(row["graph"]), str(row["model"]), str(row["side"])][int(row["seed"])] = row
    lines = ["| graph | model | MRR | pykeen's | Hits@10 | pykeen's | differ by |", "|---|---|---|---|---|---|---|"]
    for graph in GRAPHS:
        for model in MODELS:
            mine, theirs = (by_side[graph, model, side] for side in (OURS, PEER))
            cells = [_spread(side, metric) for metric in ("mrr", "hits@10") for side in (mine, theirs)]
            apart = [
                abs(float(mine[s][name]) - float(theirs[s][name])) for s in mine for name in METRICS if s in theirs
            ]
            lines.append(" | ".join([f"| {graph}", model, *cells, f"{max(apart, default=float('nan')):.1g} |"]))
    return "\n".join(lines)


def _spread(rows: Mapping[int, Row], metric: str) -> str:
    values = [float(row[metric]) for row in rows.values()]
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else ""


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="the file of lines")
    parser.add_argument("--side", action="append", choices=SIDES, help="one side alone (default: both)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*pin_memory")
    print(table(run(options.out, options.side or list(SIDES))))


if __name__ == "__main__":
    main()
