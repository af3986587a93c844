"""Link prediction on the graph of one world."""

from dataclasses import dataclass

import numpy as np

from mm_kptm.random_streams import Integers
from mm_kptm.suites.number_world.generator.facts import FAMILY, RELATIONS, World
from mm_kptm.suites.number_world.generator.splits import held_facts


@dataclass(frozen=True, eq=False)
class MentionLinks:
    """Split of a graph with a fifth of its facts held out; rows are head, relation, tail.

    Arbitrary facts cannot be predicted from others: a model is expected to be at chance on them.
    """

    world: int
    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: Integers  #: [N, 3]
    dev: Integers
    test: Integers
    families: tuple[str, ...]  #: family of each relation


def links(world: World) -> MentionLinks:
    """Split the triples of a world in three; held-out facts alternate between dev and test."""
    triples = world.triples()
    entities = tuple(sorted({entity for head, _, tail in triples for entity in (head, tail)}))
    ids = {entity: id for id, entity in enumerate(entities)}
    held = held_facts(world.numbers)
    parts: dict[str, list[tuple[int, int, int]]] = {"train": [], "dev": [], "test": []}
    for head, relation, tail in triples:
        number, row = int(head.partition(":")[2]), RELATIONS.index(relation)
        side = ("dev", "test")[(number + row) % 2] if held[number, row] else "train"
        parts[side].append((ids[head], row, ids[tail]))
    train, dev, test = (np.asarray(parts[side], dtype=np.int64).reshape(-1, 3) for side in ("train", "dev", "test"))
    families = tuple(FAMILY[relation] for relation in RELATIONS)
    return MentionLinks(world.id, entities, RELATIONS, train, dev, test, families)
