"""The verbs that inspect a knowledge graph: kg info, kg neighbours."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, only_json, print_json, print_pairs, print_rows
from mm_kptm.errors import UserError, nearest

if TYPE_CHECKING:
    from mm_kptm.knowledge.graph.graph import KnowledgeGraph

GRAPH = (
    "tab-separated triples (.tsv, .spo), RDF (.nt, .nq, .ttl), ConceptNet's .csv, a folder of WordNet or Wikidata5M, "
    "or pykeen:NAME"
)
SHOWN = 12  #: most relations in the text listing


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    info = verbs.add_parser("info", help="count what a graph holds")
    info.description = "Triples, entities, relations, degrees, parts and languages of a graph."
    info.add_argument("graph", metavar="GRAPH", help=GRAPH)
    add_json(info)
    info.set_defaults(run=_info)

    neighbours = verbs.add_parser("neighbours", help="the triples around an entity")
    neighbours.description = "The triples that lead away from an entity, the nearest first."
    neighbours.add_argument("graph", metavar="GRAPH", help=GRAPH)
    neighbours.add_argument("entity", metavar="ENTITY", help="a name in the graph")
    neighbours.add_argument("--hops", type=int, default=1, help="steps to go (default: 1)")
    neighbours.add_argument("--relation", metavar="NAME", help="go along this relation alone")
    neighbours.add_argument("--limit", type=int, metavar="N", help="print the first N (default: all)")
    add_json(neighbours)
    neighbours.set_defaults(run=_neighbours)


def _info(options: argparse.Namespace) -> int:
    from mm_kptm.knowledge.graph.statistics import summarise

    with only_json(options.json):
        found = summarise(_opened(options.graph))
    if options.json:
        print_json(found)
        return 0
    shown = {name.replace("_", " "): value for name, value in vars(found).items() if value != {}}
    relations = found.relations
    shown["relations"] = len(relations)
    shown["the most common"] = {name: relations[name] for name in islice(relations, SHOWN)}
    print_pairs(shown)
    return 0


def _neighbours(options: argparse.Namespace) -> int:
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit is {options.limit} but must be at least 1")
    with only_json(options.json):
        graph = _opened(options.graph)
        if options.relation is not None:
            graph = _along(graph, options.relation)
        found = graph.around(options.entity, options.hops)
    rows = [triple._asdict() for triple in found[: options.limit]]
    if options.json:
        print_json(rows)
        return 0
    print_rows(rows)
    if len(rows) < len(found):
        print(f"\n{len(found) - len(rows)} more; --limit {len(found)} shows them")
    elif not rows:
        print(f"no triple leads away from {options.entity}")
    return 0


def _opened(source: str) -> KnowledgeGraph:
    from mm_kptm.knowledge.graph.formats import open_graph

    return open_graph(source)


def _along(graph: KnowledgeGraph, relation: str) -> KnowledgeGraph:
    """Graph with the same entities and the triples of one relation."""
    from mm_kptm.knowledge.graph.graph import KnowledgeGraph

    if relation not in graph.relations:
        raise UserError(f"the graph has no relation {relation!r}{nearest(relation, graph.relations)}")
    return KnowledgeGraph((triple for triple in graph if triple.relation == relation), entities=graph.entities)
