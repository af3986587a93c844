"""Word-knowledge graphs: a text whose linked mentions are entities, with their facts around them (CoLAKE).

Sun et al. (2020, section 3.1): words and mentioned entities make a complete graph; a fact adds a node for its relation,
tied to its head and its tail, and one for a tail that the text does not mention. Who sees whom is kept as those ties,
never as a matrix; the released files hold the matrix, and are read and written here.

Shapes: T nodes of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.nn.visibility import LinkMask

WORD, ENTITY, RELATION = 0, 1, 2  #: kinds of nodes; CoLAKE embeds them as segments
SPECIALS = ("<unk>", "<pad>", "<mask>")  #: the first names among entities and among relations
UNKNOWN, MASK = 0, 2  #: their numbers


@dataclass(frozen=True)
class WordGraph:
    """One text: its nodes are words, then entities, then relations."""

    words: tuple[int, ...]  #: token ids
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    positions: tuple[int, ...]  #: soft positions of all nodes: a relation is one behind its head, a tail two
    mentioned: tuple[bool, ...]  #: of each entity: whether it stands in the text
    ties: tuple[tuple[int, int], ...]  #: of each relation: which entities are its head and its tail

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.positions)

    @property
    def links(self) -> list[tuple[int, int, int]]:
        """Every relation with its head and tail, as places among all nodes."""
        first, relations = len(self.words), len(self.words) + len(self.entities)
        return [(relations + number, first + head, first + tail) for number, (head, tail) in enumerate(self.ties)]

    @property
    def kinds(self) -> list[int]:
        """Of every node."""
        parts = (self.words, self.entities, self.relations)
        return [kind for kind, part in enumerate(parts) for _ in part]

    @property
    def trunk(self) -> list[bool]:
        """Whether each node belongs to the text."""
        return [True] * len(self.words) + list(self.mentioned) + [False] * len(self.relations)

    def adjacency(self) -> list[list[int]]:
        """1 where the node of the row sees that of the column, as the released files have it."""
        rows = torch.arange(len(self))
        links = LinkMask.of(SequenceLayout((len(self),)), torch.tensor(self.trunk, dtype=torch.bool), [self.links])
        seen: list[list[int]] = links.mask_mod(rows[:, None], rows[None, :]).long().tolist()
        return seen

    def record(self) -> dict[str, Any]:
        """The graph as a line of the released pretraining files, before JSON."""
        return {
            "n_word_nodes": len(self.words),
            "nodes": [*self.words, *self.entities, *self.relations],
            "soft_position": list(self.positions),
            "adj": self.adjacency(),
            "token_type_ids": self.kinds,
        }


def graph_of(record: Mapping[str, Any], where: str) -> WordGraph:
    """A graph from a record of the released files.

    Without an adjacency, as for fine-tuning, all nodes see each other.

    Args:
        record: ``nodes`` (numbers of words, names of entities and relations), ``soft_position``, ``token_type_ids``,
            and perhaps ``adj``.
        where: the file and line, for messages.

    Raises:
        UserError: a field is missing or of another length, the kinds are not in order, or the adjacency is not that of
            a word-knowledge graph.
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
    """The two entities that a relation is tied to, which the files do not tell apart; one entity may be both."""
    tied = [place for place, seen in enumerate(row) if seen]
    return (tied[0], tied[-1]) if 1 <= len(tied) <= 2 else None


def read_graphs(path: str | Path) -> Iterator[WordGraph]:
    """The graphs of a file, one JSON object a line.

    Raises:
        UserError: no such file, or a line is no word-knowledge graph; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"word-knowledge graphs were looked for in {path}, but there is no such file")
    for place, line in numbered_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {place} is not JSON ({error})") from None
        yield graph_of(record, f"{path}, line {place}")


def tokens_of_graphs(graphs: Sequence[WordGraph], entities: Mapping[str, int], relations: Mapping[str, int]) -> Tokens:
    """What an encoder reads: ids of words, entities and relations in one sequence, their kinds as segments.

    Args:
        graphs: of a batch.
        entities: numbers by name, the special ones (:data:`SPECIALS`) among them.
        relations: likewise.

    Raises:
        UserError: a name has no number.
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
    """New numbers for just these names behind the special ones, and which rows of the old table they are.

    Fine-tuning so needs the vectors of its own entities only, of a table of millions. A name without a vector of its
    own starts as the unknown one.

    >>> numbers, rows = renumbered(["Q9", "Q5", "Q9"], {"<unk>": 0, "<pad>": 1, "<mask>": 2, "Q5": 3, "Q9": 4})
    >>> numbers, rows.tolist()
    ({'<unk>': 0, '<pad>': 1, '<mask>': 2, 'Q9': 3, 'Q5': 4}, [0, 1, 2, 4, 3])
    """
    kept = list(dict.fromkeys((*SPECIALS, *names)))
    rows = torch.tensor([numbers.get(name, UNKNOWN) for name in kept])
    return {name: number for number, name in enumerate(kept)}, rows
