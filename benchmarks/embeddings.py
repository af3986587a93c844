"""Embeddings of pykeen's small graphs, ours and by pykeen's own pipeline, with the same settings and seeds.

    python -m benchmarks.embeddings OUT.jsonl [--side shared --side pykeen] [--graph atlas] [--seeds 10]

trains every model on every graph with three seeds, on every side, and writes a line for each; lines that are there
already are not made again. The sides are ours in pykeen's loop, ours with negatives that triples share (the loop
``shared``), pykeen's own pipeline, and this with drawn negatives where it trains against all entities (DistMult). The
tables of docs/knowledge.md are what it prints in the end. All run without the objects of the imports being looked
through after every epoch, which would be most of pykeen's time.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

from pykeen.pipeline import pipeline
from pykeen.triples import TriplesFactory

from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
from mm_kptm.knowledge.graph.splits import SplitGraph, open_splits
from mm_kptm.suites.atlas.data.atlas import EMBEDDED, open_atlas
from mm_kptm.suites.atlas.datasets.graph import write_graph

ATLAS = "atlas"
GRAPHS, SEEDS = ("nations", "umls", "kinships", ATLAS), 3
MODELS = ("transe", "distmult", "complex", "rotate")
OURS, ROWS, PEER, PEER_DRAWN = "mm-kptm", "shared", "pykeen", "pykeen, drawn"
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
SOFTMAX = {"training_loop": "slcwa", "negative_sampler_kwargs": {"num_negs_per_pos": 32}, "loss": "crossentropy"}
HOW = {"transe": CONTRAST, "rotate": CONTRAST, "complex": LOGISTIC, "distmult": CHOICE}
DRAWN = {**HOW, "distmult": SOFTMAX}  #: with drawn negatives, as the loop shared has them

Row = Mapping[str, str | int | float]


@cache
def splits(graph: str) -> SplitGraph:
    """The parts of a graph of pykeen's, or of Atlas, as ``mm-kptm data export atlas-graph`` writes them."""
    if graph != ATLAS:
        return open_splits(f"pykeen:{graph}")
    with TemporaryDirectory() as folder:
        write_graph(open_atlas(EMBEDDED), Path(folder))
        return open_splits(folder)


def ours(graph: str, model: str, seed: int, loop: str = "") -> dict[str, float]:
    """The measures on test after training as ``mm-kptm kg train`` does."""
    parts = splits(graph)
    trained = train_embeddings(parts, EmbeddingSettings(model=model, seed=seed, loop=loop))
    found = evaluate_embeddings(trained.scorer, parts)["test"]
    return {**{name: found[name] for name in METRICS}, "loss": trained.losses[-1]}


def peers(graph: str, model: str, seed: int, how: Mapping[str, Mapping[str, object]] = HOW) -> dict[str, float]:
    """The same by pykeen's pipeline, its evaluator included."""
    parts = splits(graph)
    names = {
        "entity_to_id": {name: number for number, name in enumerate(parts.entities)},
        "relation_to_id": {name: number for number, name in enumerate(parts.relations)},
    }
    train, valid, test = (TriplesFactory(part, **names) for part in (parts.train, parts.valid, parts.test))
    of_graph = {"training": train, "validation": valid, "testing": test} if graph == ATLAS else {"dataset": graph}
    done = pipeline(
        **of_graph,
        model=model,
        model_kwargs={"embedding_dim": 64},
        optimizer="adam",
        optimizer_kwargs={"lr": 0.01},
        training_kwargs={"num_epochs": 200, "batch_size": 256, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
        random_seed=seed,
        device="cpu",
        **how[model],
    )
    return {**{name: done.get_metric(name) for name in METRICS}, "loss": done.losses[-1]}


SIDES = {OURS: ours, ROWS: partial(ours, loop="shared"), PEER: peers, PEER_DRAWN: partial(peers, how=DRAWN)}


def run(
    file: Path,
    sides: Sequence[str],
    graphs: Sequence[str] = GRAPHS,
    models: Sequence[str] = MODELS,
    seeds: int = SEEDS,
) -> list[Row]:
    """Every line of the file, those that were missing made."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    made = {(row["side"], row["graph"], row["model"], row["seed"]) for row in rows}
    for case in ((side, g, m, s) for m in models for g in graphs for s in range(seeds) for side in sides):
        side, graph, model, seed = case
        if case in made or (side == PEER_DRAWN and HOW[model] == DRAWN[model]):
            continue
        gc.collect()
        gc.freeze()
        begin = time.process_time()
        found = SIDES[side](graph, model, seed)
        seconds = time.process_time() - begin
        rows.append({"side": side, "graph": graph, "model": model, "seed": seed, **found, "cpu_seconds": seconds})
        with file.open("a") as lines:
            lines.write(json.dumps(rows[-1]) + "\n")
    return rows


def rows_table(rows: list[Row]) -> str:
    """MRR of the loop with shared negatives beside pykeen's, mean and standard deviation over seeds; CPU seconds."""
    lines = [
        "| graph | model | MRR, shared | pykeen's | difference | CPU s | pykeen's |",
        "|---|---|---|---|---|---|---|",
    ]
    for graph, model in ((graph, model) for graph in GRAPHS for model in MODELS):
        peer = PEER if HOW[model] == DRAWN[model] else PEER_DRAWN
        mine, theirs = (
            [row for row in rows if (row["graph"], row["model"], row["side"]) == (graph, model, side)]
            for side in (ROWS, peer)
        )
        if len(mine) == len(theirs) >= SEEDS:
            apart = mean(float(row["mrr"]) for row in mine) - mean(float(row["mrr"]) for row in theirs)
            seconds = [f"{mean(float(row['cpu_seconds']) for row in side):.0f}" for side in (mine, theirs)]
            spread = [_spread(dict(enumerate(side)), "mrr") for side in (mine, theirs)]
            lines.append(f"| {graph} | {model} | {' | '.join(spread)} | {apart:+.3f} | {' | '.join(seconds)} |")
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """Mean and standard deviation over seeds, and the largest difference between the sides with the same seed."""
    by_side: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        by_side[str(row["graph"]), str(row["model"]), str(row["side"])][int(row["seed"])] = row
    lines = ["| graph | model | MRR | pykeen's | Hits@10 | pykeen's | differ by |", "|---|---|---|---|---|---|---|"]
    for graph in GRAPHS:
        for model in MODELS:
            mine, theirs = (by_side[graph, model, side] for side in (OURS, PEER))
            if not mine or not theirs:
                continue
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
    parser.add_argument("--side", action="append", choices=SIDES, help="one side, or several (default: all)")
    parser.add_argument("--graph", action="append", choices=GRAPHS, help="one graph, or several (default: all)")
    parser.add_argument("--model", action="append", choices=MODELS, help="one model, or several (default: all)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default: {SEEDS})")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*pin_memory")
    rows = run(
        options.out,
        options.side or list(SIDES),
        options.graph or GRAPHS,
        options.model or MODELS,
        options.seeds,
    )
    print(table(rows), rows_table(rows), sep="\n\n")


if __name__ == "__main__":
    main()
