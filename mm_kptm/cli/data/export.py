"""The verb data export: an embedded benchmark as files for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from mm_kptm.cli.output import add_json, print_json


def add_verbs(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the group."""
    export = actions.add_parser("export", help="write the graph of an embedded benchmark as files")
    kinds = export.add_subparsers(title="kinds", metavar="KIND", dest="kind", required=True)
    atlas = kinds.add_parser("atlas-graph", help="facts about countries, and names of entities in every language")
    atlas.description = (
        "Write train.tsv, valid.tsv and test.tsv for `kg train` and `kg evaluate`, and names.tsv for `kg link`."
    )
    atlas.add_argument("--relations", default="", metavar="NAMES", help="with commas between (default: of countries)")
    atlas.add_argument("--tier", type=Path, metavar="DIR", help="a folder of `data fetch atlas` (default: embedded)")
    atlas.add_argument("--out", type=Path, default=Path("atlas-graph"), help="folder to write (default: atlas-graph)")
    add_json(atlas)
    atlas.set_defaults(run=_export_atlas)


def _export_atlas(options: argparse.Namespace) -> int:
    from mm_kptm.suites.atlas.data.atlas import EMBEDDED, open_atlas
    from mm_kptm.suites.atlas.datasets.graph import COUNTRY_RELATIONS, write_graph

    relations = tuple(options.relations.split(",")) if options.relations else COUNTRY_RELATIONS
    counts = write_graph(open_atlas(options.tier or EMBEDDED), options.out, relations)
    if options.json:
        print_json({"out": str(options.out), **counts})
    else:
        print("\n".join(f"{options.out / name}.tsv: {count} lines" for name, count in counts.items()))
    return 0
