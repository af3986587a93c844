"""A knowledge graph of surface strings: triples in the order of their files, and what is known about a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mm_kptm.errors import UserError


class Triple(NamedTuple):
    """One fact."""

    head: str
    relation: str
    tail: str


Wording = Callable[[Triple], str]  #: a fact as the text of a branch


def relation_and_tail(triple: Triple) -> str:
    """Without a blank between, as K-BERT words facts for classification."""
    return triple.relation + triple.tail


def relation_blank_tail(triple: Triple) -> str:
    """With a blank between, for languages that write blanks."""
    return f"{triple.relation} {triple.tail}"


def tail_only(triple: Triple) -> str:
    """As K-BERT words facts for named entities."""
    return triple.tail


class KnowledgeGraph:
    """Triples and their look-up by head.

    The released K-BERT keeps facts in a set, so that the two it uses of a word change from run to run; here they stay
    in the order of the file. A triple that is repeated counts once.

    >>> graph = KnowledgeGraph([Triple("cat", "is", "animal"), Triple("cat", "eats", "fish")])
    >>> graph.facts(relation_blank_tail)("cat")
    ['is animal', 'eats fish']
    """

    def __init__(self, triples: Iterable[Triple]) -> None:
        self.triples = tuple(dict.fromkeys(triples))
        about: dict[str, list[Triple]] = {}
        for triple in self.triples:
            about.setdefault(triple.head, []).append(triple)
        self._about = {head: tuple(known) for head, known in about.items()}

    @classmethod
    def open(cls, *paths: str | Path) -> KnowledgeGraph:
        """A graph from ``.spo`` or ``.tsv`` files: head, relation and tail between tabs, UTF-8, no header.

        Raises:
            UserError: a file cannot be read, or a line does not hold three parts; the message names the line.
        """
        return cls(triple for path in paths for triple in read_triples(Path(path)))

    @property
    def heads(self) -> tuple[str, ...]:
        """Every name that something is known about, in the order of its first triple."""
        return tuple(self._about)

    def about(self, head: str) -> tuple[Triple, ...]:
        """What is known about a name; nothing about one that the graph does not have."""
        return self._about.get(head, ())

    def facts(self, wording: Wording = relation_and_tail) -> Callable[[str], list[str]]:
        """A look-up of the facts about a name in words, each wording once."""

        def look_up(head: str) -> list[str]:
            return list(dict.fromkeys(map(wording, self.about(head))))

        return look_up

    def __len__(self) -> int:
        return len(self.triples)

    def __iter__(self) -> Iterator[Triple]:
        return iter(self.triples)


def read_triples(path: Path) -> Iterator[Triple]:
    """The triples of a file, line by line; everything is text, "NA" and "007" too. Empty lines are passed over.

    Raises:
        UserError: as :meth:`KnowledgeGraph.open`.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .spo or .tsv file with head, relation, tail")
    lines = path.read_bytes().splitlines()
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number} is not UTF-8; save the file in that encoding") from None
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            raise UserError(
                f"{path}, line {number} holds {sum(map(bool, parts))} parts between tabs ({line.strip()[:60]!r}); "
                f"a triple is head, relation and tail"
            )
        yield Triple(*parts)
