"""Readers of public graph formats (RDF, ConceptNet, Wikidata5M, networkx, pykeen), chosen by the path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from mm_kptm.errors import UserError, nearest
from mm_kptm.io.records import once
from mm_kptm.io.text_lines import PACKED_ENDINGS, content_suffix, numbered_lines
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.rdf import FORMATS, read_rdf
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.graph.wordnet import read_wordnet

if TYPE_CHECKING:
    import networkx as nx

WIKIDATA5M_ENDINGS = (".txt", ".tsv")
PYKEEN = "pykeen:"  #: before the name of a data set that pykeen knows


def open_graph(source: str | Path) -> KnowledgeGraph:
    """Open the graph at a path or ``pykeen:NAME``.

    A folder is WordNet's (it has ``data.noun``) or Wikidata5M's; a file with the ending ``.nt``, ``.nq`` or ``.ttl``
    holds RDF, with ``.csv`` ConceptNet's assertions, and any other one triples between tabs. Files may be packed
    (gzip, bz2, xz), which their content decides.

    Raises:
        UserError: there is nothing, or it cannot be read; the message names file and line.
    """
    graph = _read(str(source))
    if not len(graph):
        raise UserError(f"{source} holds no triple; a graph has one at least")
    return graph


def _read(source: str) -> KnowledgeGraph:
    if source.startswith(PYKEEN):
        return from_pykeen(source.removeprefix(PYKEEN))
    path = Path(source)
    if path.is_dir():
        if (path / "data.noun").is_file():
            return read_wordnet(path)
        return read_wikidata5m(path)
    if not path.is_file():
        raise UserError(f"there is no graph {path}; name a file of triples, a folder, or {PYKEEN}nations")
    kind = content_suffix(path)
    if kind in FORMATS:
        return read_rdf(path)
    return read_conceptnet(path) if kind == ".csv" else KnowledgeGraph.open(path)


def read_conceptnet(path: str | Path, *, language: str | None = None) -> KnowledgeGraph:
    """Read ConceptNet's assertions (Speer et al. 2017): names are ``/c/en/dog``, without the sense suffix.

    Args:
        path: ``conceptnet-assertions-5.7.0.csv``, or the packed one.
        language: keep only what begins and ends in it.

    Raises:
        UserError: a line has not five columns, or no assertion is in the language; the message names the line.
    """
    path = Path(path)
    aliases: dict[str, dict[str, tuple[str, ...]]] = {}

    def triples() -> Iterator[Triple]:
        for number, line in numbered_lines(path):
            columns = line.split("\t")
            if len(columns) != 5 or not columns[1].startswith("/r/"):
                raise UserError(
                    f"{path}, line {number} is no assertion of ConceptNet, which is five columns with the relation in "
                    f"the second, but {line[:60]!r}"
                )
            ends = [uri.split("/") for uri in columns[2:4]]
            if any(len(end) < 4 or end[1] != "c" for end in ends):
                continue  # a link to another resource
            if language is not None and any(end[2] != language for end in ends):
                continue
            names = ["/".join(end[:4]) for end in ends]
            for end, name in zip(ends, names, strict=True):
                aliases.setdefault(end[2], {}).setdefault(name, (end[3].replace("_", " "),))
            yield Triple(names[0], columns[1].removeprefix("/r/"), names[1])

    graph = KnowledgeGraph(triples(), NameIndex(aliases))
    if language is not None and not len(graph):
        raise UserError(f"{path} has no assertion between words of {language!r}; languages are codes such as en or zh")
    return graph


def read_wikidata5m(folder: str | Path) -> KnowledgeGraph:
    """Read a Wikidata5M folder (Wang et al. 2021): training triples, and English aliases and descriptions if present.

    Empty cells are no names.

    Raises:
        UserError: it has no file of training triples, or those of both settings; an entity is named twice, or described
            twice in two ways; or a line cannot be read. The message names the line.
    """
    folder = Path(folder)
    setting = wikidata5m_setting(folder)
    train = None if setting is None else one_file(folder, (f"wikidata5m_{setting}_train",), WIKIDATA5M_ENDINGS)
    if train is None:
        raise UserError(f"{folder} is no folder of WordNet (data.noun) or of Wikidata5M (wikidata5m_*_train.txt)")
    aliases: dict[str, dict[str, None]] = {}
    seen: dict[str, str] = {}
    for name, names, place in _columns(one_file(folder, ("wikidata5m_entity",), WIKIDATA5M_ENDINGS)):
        once(name, place, seen, "the entity")
        aliases[name] = dict.fromkeys(one.strip() for one in names if one.strip())
    texts: dict[str, str] = {}
    for name, columns, place in _columns(one_file(folder, ("wikidata5m_text",), WIKIDATA5M_ENDINGS)):
        if texts.setdefault(name, text := "\t".join(columns)) != text:
            raise UserError(f"{place} describes {name} again and otherwise; give every entity one description")
    named = {name: tuple(names) for name, names in aliases.items() if names}
    words = NameIndex({"en": named} if named else {}, {"en": texts} if texts else {})
    return KnowledgeGraph(KnowledgeGraph.open(train), words)


def wikidata5m_setting(folder: Path) -> str | None:
    """Which setting of Wikidata5M's triples a folder holds (Wang et al. 2021, section 4.2); None where it has none.

    Raises:
        UserError: it holds both, whose valid and test parts are of different entities.
    """
    stems = {one: f"wikidata5m_{one}_train" for one in ("transductive", "inductive")}
    found = [one for one, stem in stems.items() if one_file(folder, (stem,), WIKIDATA5M_ENDINGS) is not None]
    if len(found) > 1:
        raise UserError(
            f"{folder} holds the {' and the '.join(found)} setting of Wikidata5M, whose parts are not to be mixed; "
            "keep one of them in a folder of its own"
        )
    return found[0] if found else None


def one_file(folder: Path, stems: Sequence[str], endings: Sequence[str]) -> Path | None:
    """The file of a folder that has one of these names and endings, perhaps packed; None where there is none.

    Of a file and the same one packed, the former is taken.

    Raises:
        UserError: there are two of them.
    """
    names = [stem + ending for stem in stems for ending in endings]
    forms = [[folder / (name + packed) for packed in ("", *PACKED_ENDINGS)] for name in names]
    found = [next(path for path in paths if path.is_file()) for paths in forms if any(path.is_file() for path in paths)]
    if len(found) > 1:
        raise UserError(
            f"{folder} holds {found[0].name} and {found[1].name}, which are the same part; keep one of them"
        )
    return found[0] if found else None


def _columns(path: Path | None) -> Iterator[tuple[str, list[str], str]]:
    """Name, the other cells and the place of every line; none where there is no file."""
    for number, line in () if path is None else numbered_lines(path):
        name, *cells = line.split("\t")
        if not name or not cells:
            raise UserError(f"{path}, line {number} should be a name, a tab and words, not {line[:40]!r}")
        yield name, cells, f"{path}, line {number}"


def from_networkx(graph: nx.Graph, *, relation: str = "relation") -> KnowledgeGraph:
    """Convert a networkx graph; an undirected edge gives a triple in each direction.

    Args:
        graph: nodes of any kind; their texts are the names.
        relation: the attribute of an edge that names its relation.

    Nodes without an edge are entities too.

    Raises:
        UserError: an edge lacks it, or two nodes have the same text.
    """
    named: dict[str, object] = {}
    for node in graph.nodes:
        if named.setdefault(str(node), node) != node:
            raise UserError(f"the nodes {named[str(node)]!r} and {node!r} have the same name; rename one of them")

    def triples() -> Iterable[Triple]:
        for head, tail, name in graph.edges(data=relation):
            if name is None:
                raise UserError(f"the edge from {head!r} to {tail!r} has no attribute {relation!r}, its relation")
            yield Triple(str(head), str(name), str(tail))
            if not graph.is_directed():
                yield Triple(str(tail), str(name), str(head))

    return KnowledgeGraph(triples(), entities=named)


def to_networkx(graph: KnowledgeGraph) -> nx.MultiDiGraph:
    """Convert to networkx: one edge per triple, with its relation as key and attribute ``relation``."""
    import networkx as nx  # takes as long as torch does; few want it

    found = nx.MultiDiGraph()
    found.add_nodes_from(graph.entities)
    found.add_edges_from((head, tail, relation, {"relation": relation}) for head, relation, tail in graph)
    return found


def from_pykeen(name: str) -> KnowledgeGraph:
    """Training triples of a pykeen dataset; nations, umls and kinships need no network.

    Raises:
        UserError: as :func:`pykeen_data`.
    """
    training = pykeen_data(name).training
    return KnowledgeGraph(training.label_triples(training.mapped_triples).tolist())


def pykeen_data(name: str) -> Any:
    """Dataset of pykeen, a ``pykeen.datasets.Dataset``.

    Raises:
        UserError: pykeen has none of that name, or must fetch it and cannot.
    """
    from pykeen.datasets import dataset_resolver, get_dataset

    known = dataset_resolver.lookup_dict
    if dataset_resolver.normalize(name) not in known:
        raise UserError(f"pykeen has no data set {name!r}{nearest(name, known)}")
    try:
        data = get_dataset(dataset=name)
        data.training  # noqa: B018 fetched and read when it is first looked at
    except ImportError as error:
        raise UserError(f"pykeen reads {name} with {error.name or error}, which is not installed; install it") from None
    except (OSError, BadZipFile, EOFError) as error:  # URLError, and what requests and pystow raise, are OSErrors
        reason = str(getattr(error, "reason", None) or error.__cause__ or error).partition("\n")[0]
        raise UserError(
            f"pykeen fetches {name} from the network, which cannot be reached ({reason}); "
            "nations, umls and kinships are in its package"
        ) from None
    return data
