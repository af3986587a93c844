"""The verb explain: what answers of a run rest on."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from mm_kptm.cli.output import add_json, only_json, print_json, print_rows


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    explain = verbs.add_parser("explain", help="show what answers of a run rest on, on one page")
    explain.description = (
        "Write one page with the picture, regions, words and facts of the first answers of a split, and how much each "
        "has to do with the answer. Where the data tell what decides an answer, as Number World's do, the explanations "
        "are scored: how often the highest share is that of the deciding region or fact."
    )
    explain.add_argument(
        "folder", type=Path, metavar="RUN", help="a run of vqa, visual entailment, choices or grounding"
    )
    explain.add_argument("--split", default="test", help="which examples (default: test)")
    explain.add_argument("--n", type=int, default=20, metavar="N", help="how many answers (default 20)")
    explain.add_argument("--images", type=Path, metavar="FOLDER", help="the pictures, where the data are features")
    explain.add_argument("--out", type=Path, metavar="FILE", help="the page (default: explain.html in the run)")
    add_json(explain)
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.visual.explanations import explain

    with only_json(options.json):
        page, scores = explain(
            options.folder, split=options.split, count=options.n, images=options.images, out=options.out
        )
    if options.json:
        print_json({"page": page, "scores": [asdict(score) for score in scores]})
        return 0
    if scores:
        rows = [
            {"what decides": one.part, "answers": one.n, "chance": f"{one.chance:.3f}"}
            | {name: f"{hit:.3f}" for name, hit in one.hits.items()}
            for one in scores
        ]
        print_rows(rows)
    print(page)
    return 0
