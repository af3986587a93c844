"""The verbs of knowledge graph embeddings: kg train, kg evaluate."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.kg.graphs import GRAPH
from mm_kptm.cli.output import add_json, only_json, print_json, print_rows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.knowledge.graph.splits import SplitGraph

PRINTED = ("mrr", "hits@1", "hits@3", "hits@10", "mean_rank")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    train = verbs.add_parser("train", help="train embeddings of a graph, and rank the held-out triples")
    train.description = (
        "Train vectors of entities and relations with pykeen, print the filtered ranks of valid and test, and write "
        "the vectors into a folder."
    )
    train.add_argument(
        "graph", metavar="GRAPH", help=f"{GRAPH}; or a folder with train.tsv, valid.tsv and test.tsv (or .txt)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    train.add_argument("--model", default="transe", help="transe, rotate, complex, distmult, or another of pykeen's")
    train.add_argument("--dim", type=int, default=64, help="numbers of a vector (default: 64)")
    train.add_argument("--epochs", type=int, default=200, help="times through the triples (default: 200)")
    train.add_argument("--batch-size", type=int, default=256, metavar="N", help="triples of a step (default: 256)")
    train.add_argument("--lr", type=float, default=0.01, help="learning rate (default: 0.01)")
    train.add_argument("--optimizer", default="adam", metavar="NAME", help="adam; or adagrad, with the loop shared")
    train.add_argument(
        "--loop",
        default="",
        metavar="KIND",
        help="slcwa: drawn negatives; lcwa: against all entities; shared: "
        "negatives shared by many triples and steps on their rows alone, for graphs of any size",
    )
    train.add_argument("--loss", default="", metavar="NAME", help="of pykeen (default: the usual one of the model)")
    train.add_argument(
        "--negatives", type=int, default=32, metavar="N", help="of a triple, with slcwa and shared (default: 32)"
    )
    train.add_argument(
        "--block", type=int, default=4, metavar="N", help="triples that share their negatives, with shared (default: 4)"
    )
    train.add_argument("--margin", type=float, default=6.0, help="of nssa and marginranking (default: 6)")
    train.add_argument("--seed", type=int, default=0, help="same seed, same vectors (default: 0)")
    train.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    train.add_argument(
        "--mapped", action="store_true", help="vectors in mapped files beside --out, for more than memory (loop shared)"
    )
    train.add_argument(
        "--holdout", type=float, default=0.1, metavar="SHARE", help="of triples without parts, for valid and for test"
    )
    add_json(train)
    train.set_defaults(run=_train)

    evaluate = verbs.add_parser("evaluate", help="rank what a graph holds out by vectors that were saved or published")
    evaluate.description = "The filtered ranks of valid and test among the entities of the graph."
    evaluate.add_argument(
        "vectors", type=Path, metavar="DIR", help="a folder of `kg train`, OpenKE's or KEPLER's files"
    )
    evaluate.add_argument("graph", metavar="GRAPH", help="as for `kg train`; parts that are drawn are drawn as there")
    evaluate.add_argument("--model", default="", help="whose score it is, where the folder does not say")
    evaluate.add_argument("--norm", type=int, choices=(1, 2), help="of TransE's distance, where it does not say")
    evaluate.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    evaluate.add_argument("--holdout", type=float, default=0.1, metavar="SHARE", help="as for `kg train`")
    add_json(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _train(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise UserError(f"{options.out} exists already; name a folder that does not")
    from mm_kptm.knowledge.embedding.embeddings import save_embeddings
    from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
    from mm_kptm.knowledge.graph.splits import open_splits
    from mm_kptm.train.parallel.processes import is_main_process, process_group

    _check_device(options.device)
    settings = EmbeddingSettings(
        model=options.model,
        dim=options.dim,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        optimizer=options.optimizer,
        loop=options.loop,
        loss=options.loss,
        negatives=options.negatives,
        block=options.block,
        margin=options.margin,
        seed=options.seed,
    )
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    folder = options.out.with_name(f".{options.out.name}.tables") if options.mapped else None
    with only_json(options.json), process_group() if several else nullcontext():
        graph = open_splits(options.graph, held=options.holdout, seed=options.seed)
        first = is_main_process()
        if first:
            for part, lost in graph.dropped.items():
                print(f"{part}: {lost} triples with entities or relations unseen in train are dropped", file=sys.stderr)
        device = f"cuda:{os.environ['LOCAL_RANK']}" if several and options.device == "cuda" else options.device
        try:
            trained = train_embeddings(
                graph, settings, device=device, progress=first and sys.stderr.isatty(), folder=folder
            )
            measured = evaluate_embeddings(trained.scorer, graph)
            if first:
                save_embeddings(trained.embeddings, options.out)
        finally:
            if folder is not None and first:
                shutil.rmtree(folder, ignore_errors=True)
    if first:
        _print(options, options.out, graph, measured)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from mm_kptm.knowledge.embedding.formats import open_embeddings
    from mm_kptm.knowledge.embedding.training import evaluate_embeddings
    from mm_kptm.knowledge.graph.splits import open_splits
    from mm_kptm.train.parallel.processes import is_main_process, process_group

    _check_device(options.device)
    with only_json(options.json), process_group():
        vectors = open_embeddings(options.vectors, model=options.model, norm=options.norm)
        graph = open_splits(options.graph, held=options.holdout, seed=int(vectors.settings.get("seed") or 0))
        scorer = vectors.among(graph.entities, graph.relations).score().to(options.device)
        measured = evaluate_embeddings(scorer, graph)
        first = is_main_process()
    if first:
        _print(options, options.vectors, graph, measured)
    return 0


def _print(
    options: argparse.Namespace, folder: Path, graph: SplitGraph, measured: Mapping[str, Mapping[str, float]]
) -> None:
    counts = {part: len(graph.part(part)) for part in ("train", "valid", "test")}
    if options.json:
        print_json({"folder": folder, "triples": counts, "dropped": graph.dropped, "filtered": measured})
        return
    print_rows(
        [
            {"part": part, "triples": counts[part], **{name: metrics[name] for name in PRINTED}}
            for part, metrics in measured.items()
        ]
    )
    print(folder)


def _check_device(name: str) -> None:
    import torch

    known = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if name.partition(":")[0] not in known:
        raise UserError(f"--device is {name!r}, but there is {' and '.join(known)}{' alone' * (len(known) == 1)} here")
