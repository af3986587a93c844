"""Wikidata5M (Wang et al. 2021, KEPLER, section 4): entity descriptions and triples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mm_kptm.data.formats.arrow_folders import read_rows
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.graph.triples import Triple


@dataclass(frozen=True)
class Descriptions:
    """Entity descriptions by id, and the ids by name."""

    numbers: Mapping[str, int]
    texts: tuple[str, ...]


def _everything(name: str) -> bool:
    return True


def read_descriptions(path: str | Path, *, keep: Callable[[str], bool] = _everything) -> Descriptions:
    """Read a file with a name, a tab and a description per line; tabs in the text are kept. Ids follow the file.

    Args:
        path: such as ``wikidata5m_text.txt``, UTF-8.
        keep: which names to take. (The released script takes Q1 to Q1000 only, which was meant for trying it out.)

    Raises:
        UserError: no such file, a line without a tab, or a name that stands twice; the message names the line.
    """
    path = Path(path)
    numbers: dict[str, int] = {}
    texts: list[str] = []
    for place, (name, text) in enumerate(description_lines(path), 1):
        if not keep(name):
            continue
        if name in numbers:
            raise UserError(f"{path}, line {place} describes {name} again; give every entity one description")
        numbers[name] = len(texts)
        texts.append(text)
    return Descriptions(numbers, tuple(texts))


def description_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of every line, one at a time; of a folder of ``datasets`` the columns entity and text.

    Raises:
        UserError: no such file, or a line without a tab; the message names the line.
    """
    if path.is_dir():
        for place, (name, text) in enumerate(read_rows(path, ("entity", "text")), 1):
            if not name:
                raise UserError(f"{path}, row {place} has no entity, but a text: {text.strip()[:40]!r}")
            yield name, text.strip()
        return
    if not path.is_file():
        raise UserError(f"descriptions were looked for in {path}, but there is no such file")
    for place, line in numbered_lines(path):
        name, tab, text = line.partition("\t")
        if not tab or not name:
            raise UserError(f"{path}, line {place} should be a name, a tab and a text, not {name.strip()[:40]!r}")
        yield name, text.strip()


@dataclass
class Numbering:
    """Maps triples to ids: entity ids of the descriptions, relation ids in order of first occurrence.

    Several files are numbered one after the other, so that they share their relations.
    """

    entities: Mapping[str, int]
    relations: dict[str, int] = field(default_factory=dict)
    left_out: int = 0  #: triples about an entity that has no description

    def __call__(self, triples: Iterable[Triple]) -> list[IndexedTriple]:
        """Triples between described entities, in order; the others are counted in :attr:`left_out`."""
        numbered = []
        for head, relation, tail in triples:
            if head not in self.entities or tail not in self.entities:
                self.left_out += 1
                continue
            number = self.relations.setdefault(relation, len(self.relations))
            numbered.append(IndexedTriple(self.entities[head], number, self.entities[tail]))
        return numbered
