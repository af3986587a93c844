"""Linked documents become word-knowledge graphs, as CoLAKE's released preprocessing makes them (Sun et al. 2020).

The same :class:`random.Random` gives the same graphs as that script, value by value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.word_graph import WordGraph

_AROUND, _BEHIND, _BETWEEN = "sepsepsep", "[_end_]", "[_map_]"
_MARKERS = 2  #: tokens that stand around a text


@dataclass
class GraphMaker:
    """How documents become graphs; the defaults are the released preprocessing's.

    A document is a text whose anchors stand between ``sepsepsep``; behind it, after each ``[_end_]``, an anchor and the
    title it leads to, ``[_map_]`` between them.

    Args:
        about: facts about an entity, such as :meth:`mm_kptm.knowledge.graph.graph.KnowledgeGraph.about`; asked once
            for each. They are shuffled where they stand, so that a maker goes on from the order that it left.
        names: entities by title; a title is also looked for in lower case.
        spelling: the token ids of a text.
        sentences: cuts a text.
        min_length: sentences are joined until they have as many tokens, markers counted.
        max_words: of the text between two anchors.
        max_facts: about one entity; only facts whose head it is.
        told: how often an entity brings its facts.
        max_nodes: larger graphs are left out.
        start: id of the token before a text.
        stop: id of the token behind it.
    """

    about: Callable[[str], Sequence[Triple]]
    names: Mapping[str, str]
    spelling: Callable[[str], Sequence[int]]
    sentences: Callable[[str], Sequence[str]]
    min_length: int = 80
    max_words: int = 200
    max_facts: int = 15
    told: float = 0.5
    max_nodes: int = 256
    start: int = 0
    stop: int = 2
    _facts: dict[str, list[Triple]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_facts < 0 or not 0 <= self.told <= 1:
            raise UserError(
                f"max_facts ({self.max_facts}) must not be negative and told ({self.told}) lies between 0 and 1"
            )

    def __call__(self, document: str, rng: random.Random) -> Iterator[WordGraph]:
        """The graphs of a document; parts of it without a linked entity are left out."""
        text, *links = document.strip().split(_BEHIND)
        entity_of = {}
        for link in links:
            anchor, _, title = link.partition(_BETWEEN)
            entity = self.names.get(title, self.names.get(title.lower()))
            if entity is not None:
                entity_of[anchor] = entity
        for block in self._blocks(text):
            made = self._graph(block, entity_of, rng)
            if made is not None and len(made) <= self.max_nodes:
                yield made

    def _blocks(self, text: str) -> Iterator[str]:
        """Sentences joined until they are long enough; what is left at the end, however short."""
        block = ""
        for sentence in self.sentences(text):
            block = f"{block} {sentence}"
            if len(self.spelling(block)) + _MARKERS >= self.min_length:
                yield block
                block = ""
        if block:
            yield block

    def _graph(self, block: str, entity_of: Mapping[str, str], rng: random.Random) -> WordGraph | None:
        words, places = [self.start], [0]
        entities: dict[str, int] = {}  # with their positions
        position = 1
        for part in filter(None, map(str.strip, block.split(_AROUND))):
            if (entity := entity_of.get(part)) is not None and entity not in entities:
                entities[entity] = position
                position += 1
            else:  # no anchor, one that leads nowhere, or an entity that already has its node
                spelled = self.spelling(part)[: self.max_words]
                words.extend(spelled)
                places.extend(range(position, position + len(spelled)))
                position += len(spelled)
        if not entities:
            return None
        mentioned, facts = len(entities), self._drawn(entities, rng)
        for fact in facts:
            entities.setdefault(fact.tail, entities[fact.head] + 2)
        numbers = {entity: number for number, entity in enumerate(entities)}
        return WordGraph(
            words=(*words, self.stop),
            entities=tuple(entities),
            relations=tuple(fact.relation for fact in facts),
            positions=(*places, position, *entities.values(), *(entities[fact.head] + 1 for fact in facts)),
            mentioned=(True,) * mentioned + (False,) * (len(entities) - mentioned),
            ties=tuple((numbers[fact.head], numbers[fact.tail]) for fact in facts),
        )

    def _drawn(self, entities: Mapping[str, int], rng: random.Random) -> list[Triple]:
        """Facts about the entities of a text, in the order of the text."""
        drawn: list[Triple] = []
        for entity in entities:
            facts = self._facts.setdefault(entity, list(self.about(entity)))
            if facts and rng.random() > 1 - self.told:
                rng.shuffle(facts)
                drawn.extend(facts[: self.max_facts])
        return drawn
