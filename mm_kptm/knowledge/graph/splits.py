"""Train, validation and test splits of a graph, by id.

Numbers follow the alphabet, as pykeen's do: the same triples have the same numbers whatever file they come from.

Shapes: M triples of a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.formats import PYKEEN, one_file, open_graph, pykeen_data, wikidata5m_setting
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.openke import check_count, count_of, read_entity_ids
from mm_kptm.knowledge.graph.triples import Triple

PARTS = ("train", "valid", "test")
_NAMES = {"train": ("train",), "valid": ("valid", "dev", "validation"), "test": ("test",)}
_ENDINGS = (".tsv", ".txt", ".spo")

Strings = KnowledgeGraph | Iterable[Sequence[str]]


@dataclass(frozen=True, eq=False)
class SplitGraph:
    """Train, validation and test triples of one graph, by id."""

    entities: tuple[str, ...]  #: of train, in order of the alphabet
    relations: tuple[str, ...]
    train: Tensor  #: head, relation and tail by number, each triple once, [M, 3]
    valid: Tensor
    test: Tensor
    dropped: Mapping[str, int] = field(default_factory=dict)  #: triples of a part that nothing was learnt about

    @classmethod
    def of(cls, train: Strings, valid: Strings = (), test: Strings = ()) -> SplitGraph:
        """Split from graphs or string triples; triples with entities or relations unseen in train are dropped.

        Raises:
            UserError: there is nothing to learn from.
        """
        known, *others = (
            part if isinstance(part, KnowledgeGraph) else KnowledgeGraph(part) for part in (train, valid, test)
        )
        if not len(known):
            raise UserError("there is no triple to learn from; the part train holds one at least")
        seen = {known.entities[number] for number in np.unique(known.numbered()[:, [0, 2]]).tolist()}
        entities, relations = tuple(sorted(seen)), tuple(sorted(known.relations))
        parts = [_numbered(graph, entities, relations) for graph in (known, *others)]
        lost = {part: len(graph) - len(kept) for part, graph, kept in zip(PARTS[1:], others, parts[1:], strict=True)}
        dropped = {part: count for part, count in lost.items() if count}
        return cls(entities, relations, parts[0], parts[1], parts[2], dropped)

    def part(self, name: str) -> Tensor:
        """Triples of one of :data:`PARTS`."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def known(self, name: str) -> Tensor:
        """Triples that filter the ranks of a part: the earlier parts and itself, as in pykeen."""
        return torch.cat([self.part(part) for part in PARTS[: PARTS.index(name) + 1]])


def open_splits(source: str | Path, *, held: float = 0.1, seed: int = 0) -> SplitGraph:
    """Open the splits of a folder or ``pykeen:NAME``; draw splits of any other graph.

    A folder has ``train``, ``valid`` (or ``dev``) and ``test`` with the endings of triples between tabs, OpenKE's
    ``train2id.txt`` with ``entity2id.txt``, or Wikidata5M's files.

    Args:
        source: as for :func:`~mm_kptm.knowledge.graph.formats.open_graph`.
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
        return SplitGraph.of(*(KnowledgeGraph.open(files[part]) if part in files else () for part in PARTS))
    return drawn(open_graph(source), held, seed)


def drawn(triples: Strings, held: float, seed: int) -> SplitGraph:
    """Draw splits; train keeps at least one triple of every entity and relation.

    Raises:
        UserError: the share is none.
    """
    if not 0 <= held < 0.5:
        raise UserError(f"valid and test can each hold a share of 0 up to 0.5 of the triples, not {held}")
    whole = SplitGraph.of(triples)
    size, rows = int(held * len(whole.train)), whole.train.tolist()
    entities = torch.bincount(whole.train[:, [0, 2]].flatten()).tolist()
    relations = torch.bincount(whole.train[:, 1]).tolist()
    out: list[int] = []
    for place in torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist():
        if len(out) == 2 * size:
            break
        head, relation, tail = rows[place]
        if relations[relation] > 1 and min(entities[head], entities[tail]) > 1 + (head == tail):
            out.append(place)
            relations[relation] -= 1
            entities[head] -= 1
            entities[tail] -= 1
    kept = torch.ones(len(rows), dtype=torch.bool)
    kept[out] = False
    valid, test = (whole.train[sorted(half)] for half in (out[: len(out) // 2], out[len(out) // 2 :]))
    return replace(whole, train=whole.train[kept], valid=valid, test=test)


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
    """Read OpenKE files: ids in the order head, tail, relation, after a count."""
    names = {kind: _by_number(folder / f"{kind}2id.txt") for kind in ("entity", "relation")}

    def triples(part: str) -> Iterator[Triple]:
        path = folder / f"{part}2id.txt"
        lines, expected = 0, None
        for place, line in numbered_lines(path) if path.is_file() else ():
            columns = line.split()
            if not columns or (place == 1 and (expected := count_of(line)) is not None):
                continue
            lines += 1
            try:
                head, tail, relation = (int(column) for column in columns)
                yield Triple(names["entity"][head], names["relation"][relation], names["entity"][tail])
            except (ValueError, KeyError):
                raise UserError(
                    f"{path}, line {place} should be the numbers of head, tail and relation, not {line.strip()[:40]!r}"
                ) from None
        check_count(path, expected, lines, "triples")

    return SplitGraph.of(*(triples(part) for part in PARTS))


def _by_number(path: Path) -> dict[int, str]:
    return {number: name for name, number in read_entity_ids(path).items()}


def files_of(folder: Path) -> dict[str, Path]:
    """Path of every split in a folder, compressed or not, of one of the two settings of Wikidata5M.

    Raises:
        UserError: the folder has two files of one part, or both settings of Wikidata5M.
    """
    found = {}
    setting = wikidata5m_setting(folder)
    for part in PARTS:
        stems = [*_NAMES[part], *(() if setting is None else (f"wikidata5m_{setting}_{part}",))]
        if (file := one_file(folder, stems, _ENDINGS)) is not None:
            found[part] = file
    return found


def _numbered(graph: KnowledgeGraph, entities: Sequence[str], relations: Sequence[str]) -> Tensor:
    """Triples by index into these names, sorted and distinct; triples with other names are left out."""
    columns = graph.numbered().T
    names = {name: number for number, name in enumerate(entities)}
    ways = {name: number for number, name in enumerate(relations)}
    places = np.array([names.get(name, -1) for name in graph.entities], dtype=np.int64)
    turns = np.array([ways.get(name, -1) for name in graph.relations], dtype=np.int64)
    rows = np.stack([places[columns[0]], turns[columns[1]], places[columns[2]]], axis=1)
    return torch.from_numpy(np.unique(rows[(rows >= 0).all(axis=1)], axis=0))
