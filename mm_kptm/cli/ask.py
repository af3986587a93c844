"""The verb ask: one question about one picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mm_kptm.cli.output import add_json, only_json, print_json, print_rows
from mm_kptm.errors import UserError


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    ask = verbs.add_parser("ask", help="ask a trained run, or a system with fresh weights, about one picture")
    ask.description = (
        "Answer a question about a picture with a distribution over answers: by a run that was trained on vqa, or by a "
        "system with random weights, to try it out (its probabilities mean nothing). A run that was trained on "
        "grounding answers with the boxes that an expression may mean."
    )
    ask.add_argument("system", metavar="RUN", help="a run folder, or the name of a system for random weights")
    ask.add_argument("picture", type=Path, metavar="PICTURE", help="a picture file")
    ask.add_argument("question", metavar="QUESTION", help="the question, in quotes")
    ask.add_argument("--answers", nargs="+", default=(), metavar="ANSWER", help="to choose from, for random weights")
    how = ask.add_mutually_exclusive_group()
    how.add_argument("--pixels", metavar="BACKBONE", help="regions are made inside the model: a timm model, or patches")
    how.add_argument(
        "--features", metavar="EXTRACTOR", help="regions are made before: bottom-up, patches, grid or torchvision"
    )
    ask.add_argument("--model", default="", metavar="NAME", help="of --features grid (timm) or torchvision")
    ask.add_argument("--weights", metavar="FILE", help="of the backbone or extractor; `none` draws them")
    ask.add_argument(
        "--box",
        nargs=4,
        type=float,
        action="append",
        default=[],
        metavar=("X1", "Y1", "X2", "Y2"),
        help="a box of the picture in pixels, for a run that reads boxes of pictures; once for each",
    )
    ask.add_argument("--size", type=int, metavar="PIXELS", help="side of the picture (default: as published)")
    ask.add_argument(
        "--sizes", nargs="+", default=(), metavar="NAME=N", help="of a system with random weights, as num_layers=2"
    )
    ask.add_argument("--seed", type=int, default=0, help="of random weights")
    ask.add_argument("--top", type=int, default=5, metavar="N", help="answers that are shown (default 5)")
    add_json(ask)
    ask.set_defaults(run=_ask)


def _ask(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.visual.ask import ask_run

    weights = None if options.weights in (None, "none") else Path(options.weights)
    with only_json(options.json):
        if Path(options.system).is_dir():
            if options.answers or options.pixels or options.features or options.sizes:
                raise UserError(f"{options.system} is a run, which knows its answers and sizes; give picture, question")
            boxes = [tuple(box) for box in options.box]
            found = ask_run(Path(options.system), options.picture, options.question, weights=weights, boxes=boxes)
        elif options.box:
            raise UserError(f"--box is for runs that read boxes of pictures, but {options.system} is no folder of one")
        else:
            found = _fresh(options, weights)
    shown = [{"answer": answer, "probability": value} for answer, value in list(found.items())[: options.top]]
    if options.json:
        print_json(shown)
    else:
        print_rows([{**row, "probability": f"{row['probability']:.4f}"} for row in shown])
    return 0


def _fresh(options: argparse.Namespace, weights: Path | None) -> dict[str, float]:
    from mm_kptm.experiment.settings import VisionSettings
    from mm_kptm.experiment.visual.ask import ask_fresh
    from mm_kptm.vision.extractors.build import ExtractorSettings

    by: VisionSettings | ExtractorSettings
    if options.pixels is not None:
        by = VisionSettings(options.pixels, weights, size=options.size)
    elif options.features is not None:
        by = ExtractorSettings(options.features, options.model, options.size, seed=options.seed)
    else:
        raise UserError(
            f"{options.system} is no folder of a run; a system with random weights needs --answers, and --pixels or "
            "--features to see the picture"
        )
    return ask_fresh(
        options.system,
        options.picture,
        options.question,
        options.answers,
        by=by,
        weights=weights if options.features is not None else None,
        sizes=dict(_size(given) for given in options.sizes),
        seed=options.seed,
    )


def _size(given: str) -> tuple[str, Any]:
    name, _, value = given.partition("=")
    if not value.isdigit():
        raise UserError(f"--sizes has {given!r} but takes NAME=N, such as num_layers=2")
    return name, int(value)
