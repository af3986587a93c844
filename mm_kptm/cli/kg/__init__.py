"""The verbs of knowledge graphs: kg info, kg neighbours, kg train, kg evaluate, kg link."""

from __future__ import annotations

import argparse

from mm_kptm.cli.discovery import add_verbs_of

__all__ = ["add_verbs"]


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group of verbs to the parser."""
    group = verbs.add_parser(
        "kg", help="knowledge graphs: what one holds, vectors of its entities, and where texts name them"
    )
    add_verbs_of(__name__, group.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True))
