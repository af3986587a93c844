"""RDF graphs (W3C RDF 1.1) in N-Triples, N-Quads and Turtle, read with pyoxigraph (extra ``rdf``)."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import content_suffix, is_cut_short, numbered_lines, open_bytes
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.triples import Triple

if TYPE_CHECKING:
    from pyoxigraph import Literal, Quad, RdfFormat

LABELS = (
    "http://www.w3.org/2000/01/rdf-schema#label",
    "http://www.w3.org/2004/02/skos/core#prefLabel",
    "http://www.w3.org/2004/02/skos/core#altLabel",
)
DESCRIBES = ("http://schema.org/description", "http://www.w3.org/2000/01/rdf-schema#comment")
#: By the ending of a file: what pyoxigraph and what a reader calls its format.
FORMATS = {".nt": ("N_TRIPLES", "N-Triples"), ".nq": ("N_QUADS", "N-Quads"), ".ttl": ("TURTLE", "Turtle")}
_MARK = b"\xef\xbb\xbf"  # a byte order mark, which the formats do not know


def read_rdf(path: str | Path) -> KnowledgeGraph:
    """Read statements between IRIs and blank nodes; literals become labels and descriptions.

    Other literals are no entities and are left out, as are statements about statements. A literal without a language
    counts as ``und``; language tags are compared in small letters (RDF 1.1 Concepts, section 3.3). The named graphs of
    N-Quads are read as one.

    Args:
        path: ends in ``.nt``, ``.nq`` or ``.ttl``; may be packed (``.gz``, ``.bz2``, ``.xz``).

    Raises:
        UserError: pyoxigraph is not installed, the packed file is broken, or something is no statement; the message
            names the line.
    """
    path = Path(path)
    if (ending := content_suffix(path)) not in FORMATS:
        raise UserError(f"{path} ends in no format of RDF; rename it to end in {', '.join(FORMATS)}")
    kind, called = FORMATS[ending]
    try:
        import pyoxigraph as rdf
    except ImportError:
        raise UserError(
            f"{path} holds {called}, which pyoxigraph reads, but that is not installed; "
            "install it with `pip install 'mm-kptm[rdf]'`"
        ) from None
    aliases: dict[str, dict[str, dict[str, None]]] = {}  # by language and name, each label once
    descriptions: dict[str, dict[str, str]] = {}

    def triples() -> Iterator[Triple]:
        for subject, predicate, object_, _ in _statements(path, getattr(rdf.RdfFormat, kind), called):
            relation = predicate.value
            if isinstance(subject, rdf.Triple):
                continue
            name = subject.value if isinstance(subject, rdf.NamedNode) else str(subject)
            if isinstance(object_, rdf.NamedNode):
                yield Triple(name, relation, object_.value)
            elif isinstance(object_, rdf.BlankNode):
                yield Triple(name, relation, str(object_))
            elif not isinstance(object_, rdf.Literal):
                continue
            elif relation in LABELS:
                aliases.setdefault(_language(object_), {}).setdefault(name, {})[object_.value] = None
            elif relation in DESCRIBES:
                descriptions.setdefault(_language(object_), {}).setdefault(name, object_.value)

    graph = KnowledgeGraph(triples())
    words = {language: {name: tuple(labels) for name, labels in names.items()} for language, names in aliases.items()}
    graph.words = NameIndex(words, descriptions)
    return graph


def _language(literal: Literal) -> str:
    """The language tag of a literal in small letters, ``und`` where it has none."""
    return (literal.language or "und").lower()


def _statements(path: Path, format_: RdfFormat, called: str) -> Iterator[Quad]:
    """Statements of a file as pyoxigraph parses them; relative IRIs are kept as they are."""
    from pyoxigraph import RdfFormat, parse

    with open_bytes(path) as file:
        try:
            if file.read(len(_MARK)) != _MARK:
                file.seek(0)
            yield from parse(input=file, format=format_, lenient=True)
        except SyntaxError as error:
            if format_ in (RdfFormat.N_TRIPLES, RdfFormat.N_QUADS):
                _refuse_line(path, called)
            reason = error.msg.partition(": ")[2] or error.msg
            raise UserError(f"{path}, line {error.lineno} is no {called}: {reason}") from None
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if not is_cut_short(error):
                raise
            raise UserError(f"{path} breaks off; fetch it again") from None


def _refuse_line(path: Path, called: str) -> None:
    """Raise an error that names the first malformed line; the parser names the one where it noticed."""
    from pyoxigraph import RdfFormat, parse

    for number, line in numbered_lines(path):
        try:
            list(parse(input=line, format=RdfFormat.N_QUADS, lenient=True))
        except SyntaxError:
            raise UserError(f"{path}, line {number} is no {called} statement: {line.strip()[:60]!r}") from None
