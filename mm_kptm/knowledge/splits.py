"""Graphs in three parts, by number: triples to learn from, to choose by, and to test on.

Numbers follow the alphabet, as pykeen's do: the same triples have the same numbers whatever file they come from.

Shapes: M triples of a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import Triple, numbered_lines, read_triples
from mm_kptm.knowledge.graph_files import PYKEEN, open_graph, pykeen_data
from mm_kptm.knowledge.grid import read_entity_ids

PARTS = ("train", "valid", "test")
_NAMES = {"train": ("train",), "valid": ("valid", "dev", "validation"), "test": ("test",)}
_ENDINGS = (".tsv", ".txt", ".spo", ".tsv.gz", ".txt.gz")

Strings = Iterable[Sequence[str]]


@dataclass(frozen=True, eq=False)
class SplitGraph:
    """Three parts of one graph."""

    entities: tuple[str, ...]  #: of train, in order of the alphabet
    relations: tuple[str, ...]
    train: Tensor  #: head, relation and tail by number, each triple once, [M, 3]
    valid: Tensor
    test: Tensor
    dropped: Mapping[str, int] = field(default_factory=dict)  #: triples of a part that nothing was learnt about

    @classmethod
    def of(cls, train: Strings, valid: Strings = (), test: Strings = ()) -> SplitGraph:
        """From heads, relations and tails by name; what train does not know is dropped from the other parts.

        Raises:
            UserError: there is nothing to learn from.
        """
        known = [tuple(triple) for triple in train]
        if not known:
            raise UserError("there is no triple to learn from; the part train holds one at least")
        entities = tuple(sorted({name for head, _, tail in known for name in (head, tail)}))
        relations = tuple(sorted({relation for _, relation, _ in known}))
        names, ways = ({name: number for number, name in enumerate(all_)} for all_ in (entities, relations))

        def numbered(triples: Strings) -> tuple[Tensor, int]:
            given = [tuple(triple) for triple in triples]
            rows = [(names[h], ways[r], names[t]) for h, r, t in given if h in names and r in ways and t in names]
            return _distinct(rows), len(given) - len(rows)

        parts = {part: numbered(triples) for part, triples in (("valid", valid), ("test", test))}
        return cls(
            entities,
            relations,
            numbered(known)[0],
            parts["valid"][0],
            parts["test"][0],
            {part: lost for part, (_, lost) in parts.items() if lost},
        )

    def part(self, name: str) -> Tensor:
        """The triples of one of :data:`PARTS`."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def known(self, name: str) -> Tensor:
        """What filters the ranks of a part: those before it, and itself (pykeen filters so, too)."""
        return torch.cat([self.part(part) for part in PARTS[: PARTS.index(name) + 1]])


def open_splits(source: str | Path, *, held: float = 0.1, seed: int = 0) -> SplitGraph:
    """The parts that a folder or ``pykeen:NAME`` has; those of any other graph are drawn.

    A folder has ``train``, ``valid`` (or ``dev``) and ``test`` with the endings of triples between tabs, OpenKE's
    ``train2id.txt`` with ``entity2id.txt``, or Wikidata5M's files.

    Args:
        source: as for :func:`~mm_kptm.knowledge.graph_files.open_graph`.
        held: the share of the triples of a graph without parts that valid and test hold, each.
        seed: for drawing them.

    Raises:
        UserError: there is nothing, a line cannot be read, or the share cannot be held out.
    """
    if str(source).startswith(PYKEEN):
        return _of_pykeen(str(source).removeprefix(PYKEEN))
    folder = Path(source)
    if (folder / "train2id.txt").is_file():
        return _of_openke(folder)
    files = files_of(folder)
    if "train" in files:
        return SplitGraph.of(*(read_triples(files[part]) if part in files else () for part in PARTS))
    return drawn(open_graph(source), held, seed)


def drawn(triples: Iterable[Triple], held: float, seed: int) -> SplitGraph:
    """Parts of triples that come in none; train keeps a triple at least of every entity and relation.

    Raises:
        UserError: the share is none.
    """
    if not 0 <= held < 0.5:
        raise UserError(f"valid and test can each hold a share of 0 up to 0.5 of the triples, not {held}")
    given = sorted(set(triples))
    size = int(held * len(given))
    left: dict[tuple[str, str], int] = {}
    for triple in given:
        for thing in _things(triple):
            left[thing] = left.get(thing, 0) + 1
    out: list[Triple] = []
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(seed)).tolist()
    for place in order:
        if len(out) == 2 * size:
            break
        things = list(_things(given[place]))
        if all(left[thing] > things.count(thing) for thing in things):
            out.append(given[place])
            for thing in things:
                left[thing] -= 1
    gone, half = set(out), len(out) // 2
    return SplitGraph.of((triple for triple in given if triple not in gone), out[:half], out[half:])


def _things(triple: Triple) -> Iterator[tuple[str, str]]:
    yield from (("entity", triple.head), ("relation", triple.relation), ("entity", triple.tail))


def _of_pykeen(name: str) -> SplitGraph:
    data = pykeen_data(name)
    training, empty = data.training, torch.empty(0, 3, dtype=torch.long)
    valid = empty if data.validation is None else data.validation.mapped_triples
    return SplitGraph(
        entities=tuple(training.entity_id_to_label[number] for number in range(training.num_entities)),
        relations=tuple(training.relation_id_to_label[number] for number in range(training.num_relations)),
        train=training.mapped_triples,
        valid=valid,
        test=data.testing.mapped_triples,
    )


def _of_openke(folder: Path) -> SplitGraph:
    """Numbers in the order head, tail, relation, below their count."""
    names = {kind: _by_number(folder / f"{kind}2id.txt") for kind in ("entity", "relation")}

    def triples(part: str) -> Iterator[Triple]:
        path = folder / f"{part}2id.txt"
        for place, line in numbered_lines(path) if path.is_file() else ():
            columns = line.split()
            if not columns or (len(columns) == 1 and place == 1):
                continue
            try:
                head, tail, relation = (int(column) for column in columns)
                yield Triple(names["entity"][head], names["relation"][relation], names["entity"][tail])
            except (ValueError, KeyError):
                raise UserError(
                    f"{path}, line {place} should be the numbers of head, tail and relation, not {line.strip()[:40]!r}"
                ) from None

    return SplitGraph.of(*(triples(part) for part in PARTS))


def _by_number(path: Path) -> dict[int, str]:
    return {number: name for name, number in read_entity_ids(path).items()}


def files_of(folder: Path) -> dict[str, Path]:
    """The file of every part that a folder has."""
    found = {}
    for part in PARTS:
        names = [name + ending for name in _NAMES[part] for ending in _ENDINGS]
        names.append(f"wikidata5m_transductive_{part}.txt")
        files = [folder / name for name in names if (folder / name).is_file()]
        if files:
            found[part] = files[0]
    return found


def _distinct(rows: Sequence[tuple[int, int, int]]) -> Tensor:
    return torch.from_numpy(np.unique(np.array(rows, dtype=np.int64).reshape(-1, 3), axis=0))
