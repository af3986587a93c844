"""Word-knowledge graphs (Sun et al. 2020, CoLAKE, section 3.1): a text with linked entities and their facts.

Words and mentioned entities form a complete graph; a fact adds a node for its relation, connected to head and tail, and
one for a tail that the text does not mention. The attention mask is stored as these links, never as a matrix; the
released files contain the matrix, and are read and written here.

Shapes: T nodes of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_line
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.nn.visibility import LinkMask

WORD, ENTITY, RELATION = 0, 1, 2  #: kinds of nodes; CoLAKE embeds them as segments
SPECIALS = ("<unk>", "<pad>", "<mask>")  #: first names among entities and among relations
UNKNOWN, MASK = 0, 2  #: their ids


@dataclass(frozen=True)
class WordGraph:
    """One word-knowledge graph: its nodes are words, then entities, then relations."""

    words: tuple[int, ...]  #: token ids
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    positions: tuple[int, ...]  #: soft positions of all nodes: a relation is one after its head, a tail two
    mentioned: tuple[bool, ...]  #: of each entity: whether the text mentions it
    ties: tuple[tuple[int, int], ...]  #: of each relation: indices of its head and tail entities

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.positions)

    @property
    def links(self) -> list[tuple[int, int, int]]:
        """Relation, head and tail of every fact as node indices."""
        first, relations = len(self.words), len(self.words) + len(self.entities)
        return [(relations + number, first + head, first + tail) for number, (head, tail) in enumerate(self.ties)]

    @property
    def kinds(self) -> list[int]:
        """Kind of every node."""
        parts = (self.words, self.entities, self.relations)
        return [kind for kind, part in enumerate(parts) for _ in part]

    @property
    def trunk(self) -> list[bool]:
        """Whether each node belongs to the text."""
        return [True] * len(self.words) + list(self.mentioned) + [False] * len(self.relations)

    def adjacency(self) -> list[list[int]]:
        """Adjacency matrix of the released files: 1 where the row's node attends to the column's."""
        rows = torch.arange(len(self))
        links = LinkMask.of(SequenceLayout((len(self),)), torch.tensor(self.trunk, dtype=torch.bool), [self.links])
        matrix: list[list[int]] = links.mask_mod(rows[:, None], rows[None, :]).long().tolist()
        return matrix

    def record(self) -> dict[str, Any]:
        """Record of the released pretraining files, before JSON."""
        return {
            "n_word_nodes": len(self.words),
            "nodes": [*self.words, *self.entities, *self.relations],
            "soft_position": list(self.positions),
            "adj": self.adjacency(),
            "token_type_ids": self.kinds,
        }


def graph_of(record: Mapping[str, Any], where: str) -> WordGraph:
    """Graph from a record of the released files.

    Without an adjacency matrix, as for fine-tuning, all nodes attend to each other.

    Args:
        record: ``nodes`` (word ids, names of entities and relations), ``soft_position``, ``token_type_ids`` and
            optionally ``adj``.
        where: file and line, for messages.

    Raises:
        UserError: a field is missing or has another length, the kinds are not in order, or the adjacency is not
            that of a word-knowledge graph.
    """
    lacking = [name for name in ("nodes", "soft_position", "token_type_ids") if name not in record]
    if lacking:
        raise UserError(f"{where} has no {lacking[0]}; a word-knowledge graph has nodes, soft_position, token_type_ids")
    nodes, positions, kinds = record["nodes"], record["soft_position"], record["token_type_ids"]
    adjacency = record.get("adj")
    for name, part in (("soft positions", positions), ("kinds", kinds), ("rows of adjacency", adjacency)):
        if part is not None and len(part) != len(nodes):
            raise UserError(f"{where} has {len(nodes)} nodes but {len(part)} {name}")
    if kinds != sorted(kinds) or not set(kinds) <= {WORD, ENTITY, RELATION}:
        raise UserError(f"{where} should have words (0), then entities (1), then relations (2), not {kinds}")
    first, relations = kinds.count(WORD), kinds.count(WORD) + kinds.count(ENTITY)
    mentioned = [adjacency is None or any(row[place] for row in adjacency[:first]) for place in range(first, relations)]
    ties = [] if adjacency is None else [_tie(row[first:relations]) for row in adjacency[relations:]]
    if len(ties) != len(nodes) - relations or None in ties:
        raise UserError(f"{where} has a relation that is not tied to a head and a tail")
    graph = WordGraph(
        words=tuple(nodes[:first]),
        entities=tuple(nodes[first:relations]),
        relations=tuple(nodes[relations:]),
        positions=tuple(positions),
        mentioned=tuple(mentioned),
        ties=tuple(tie for tie in ties if tie is not None),
    )
    if adjacency is not None and graph.adjacency() != adjacency:
        raise UserError(f"{where} has an adjacency that is not that of a text with its entities and their facts")
    return graph


def _tie(row: Sequence[int]) -> tuple[int, int] | None:
    """Two entities of a relation, whose direction the files do not give; one entity may be both."""
    tied = [place for place, seen in enumerate(row) if seen]
    return (tied[0], tied[-1]) if 1 <= len(tied) <= 2 else None


def read_graphs(path: str | Path) -> Iterator[WordGraph]:
    """Read the graphs of a file, one JSON object per line.

    Raises:
        UserError: there is no such file, or a line is not a word-knowledge graph; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"word-knowledge graphs were looked for in {path}, but there is no such file")
    for place, line in numbered_lines(path):
        yield graph_of(read_line(line, f"{path}, line {place}").values, f"{path}, line {place}")


def tokens_of_graphs(graphs: Sequence[WordGraph], entities: Mapping[str, int], relations: Mapping[str, int]) -> Tokens:
    """Tokens for an encoder: word, entity and relation ids in one sequence, node kinds as segments.

    Args:
        graphs: graphs of the batch.
        entities: entity ids by name, special ones (:data:`SPECIALS`) included.
        relations: relation ids by name, likewise.

    Raises:
        UserError: a name has no id.
    """
    ids = [
        [*graph.words, *_numbers(graph.entities, entities, "entity"), *_numbers(graph.relations, relations, "relation")]
        for graph in graphs
    ]
    tokens = Tokens.of(ids, positions=[graph.positions for graph in graphs], segments=[graph.kinds for graph in graphs])
    trunk = torch.tensor([on for graph in graphs for on in graph.trunk], dtype=torch.bool)
    if bool(trunk.all()):
        return tokens
    mask = LinkMask.of(tokens.layout, trunk, [graph.links for graph in graphs])
    return Tokens(tokens.ids, tokens.layout, tokens.positions, tokens.segments, attention_mask=mask)


def _numbers(names: Sequence[str], numbers: Mapping[str, int], kind: str) -> list[int]:
    for name in names:
        if name not in numbers:
            raise UserError(f"the {kind} {name} has no number among the {len(numbers)} that are known")
    return [numbers[name] for name in names]


def renumbered(names: Iterable[str], numbers: Mapping[str, int]) -> tuple[dict[str, int], Tensor]:
    """New ids for these names after the special ones, and their rows in the old table.

    Fine-tuning then needs only the vectors of its own entities, out of millions. A name without a vector starts as the
    unknown one.

    >>> numbers, rows = renumbered(["Q9", "Q5", "Q9"], {"<unk>": 0, "<pad>": 1, "<mask>": 2, "Q5": 3, "Q9": 4})
    >>> numbers, rows.tolist()
    ({'<unk>': 0, '<pad>': 1, '<mask>': 2, 'Q9': 3, 'Q5': 4}, [0, 1, 2, 4, 3])
    """
    kept = list(dict.fromkeys((*SPECIALS, *names)))
    rows = torch.tensor([numbers.get(name, UNKNOWN) for name in kept])
    return {name: number for number, name in enumerate(kept)}, rows
