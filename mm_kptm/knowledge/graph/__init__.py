"""Knowledge graphs: reading any file of triples, looking up neighbourhoods, splits, statistics."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.graph.formats import from_networkx, open_graph, read_conceptnet, to_networkx
    from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
    from mm_kptm.knowledge.graph.splits import SplitGraph, open_splits
    from mm_kptm.knowledge.graph.statistics import summarise
    from mm_kptm.knowledge.graph.triple_store import TripleStore
    from mm_kptm.knowledge.graph.triples import Triple, read_triples
    from mm_kptm.knowledge.graph.wordnet import read_wordnet
else:
    __getattr__ = lazy(
        __name__,
        {
            "formats": ["from_networkx", "open_graph", "read_conceptnet", "to_networkx"],
            "graph": ["KnowledgeGraph", "NameIndex"],
            "splits": ["SplitGraph", "open_splits"],
            "statistics": ["summarise"],
            "triple_store": ["TripleStore"],
            "triples": ["Triple", "read_triples"],
            "wordnet": ["read_wordnet"],
        },
    )

__all__ = [
    "KnowledgeGraph",
    "NameIndex",
    "SplitGraph",
    "Triple",
    "TripleStore",
    "from_networkx",
    "open_graph",
    "open_splits",
    "read_conceptnet",
    "read_triples",
    "read_wordnet",
    "summarise",
    "to_networkx",
]
