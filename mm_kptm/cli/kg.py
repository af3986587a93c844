"""The verbs of knowledge graphs: kg info, kg neighbours, kg train, kg evaluate, kg link.

A module of this package with ``add_verbs`` joins the group by its entry in :data:`ROOMS`.
"""

from __future__ import annotations

import argparse

from mm_kptm.cli import kg_embeddings, kg_graphs, kg_link

ROOMS = (kg_graphs, kg_embeddings, kg_link)


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group of verbs to the parser."""
    group = verbs.add_parser(
        "kg", help="knowledge graphs: what one holds, vectors of its entities, and where texts name them"
    )
    actions = group.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for room in ROOMS:
        room.add_verbs(actions)
