"""Word-knowledge graphs from linked documents, as in CoLAKE's released preprocessing (Sun et al. 2020).

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
_MARKERS = 2  #: tokens around a text


@dataclass
class GraphMaker:
    """Builds graphs from documents; the defaults are those of the released preprocessing.

    In a document anchors are enclosed in ``sepsepsep``; after the text, each ``[_end_]`` starts an anchor and the title
    it links to, separated by ``[_map_]``.

    Args:
        about: facts of an entity, such as :meth:`mm_kptm.knowledge.graph.graph.KnowledgeGraph.about`; called once
            for each. They are shuffled in place, so that a maker continues from the last order.
        names: entities by title; a title is also looked up in lower case.
        spelling: token ids of a text.
        sentences: sentence splitter.
        min_length: sentences are joined until they have this many tokens, special ones counted.
        max_words: maximum number of tokens between two anchors.
        max_facts: maximum number of facts of an entity, all with that entity as head.
        fact_rate: probability that an entity brings its facts.
        max_nodes: larger graphs are left out.
        start: id of the token before a text.
        stop: id of the token after a text.
    """

    about: Callable[[str], Sequence[Triple]]
    names: Mapping[str, str]
    spelling: Callable[[str], Sequence[int]]
    sentences: Callable[[str], Sequence[str]]
    min_length: int = 80
    max_words: int = 200
    max_facts: int = 15
    fact_rate: float = 0.5
    max_nodes: int = 256
    start: int = 0
    stop: int = 2
    _facts: dict[str, list[Triple]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_facts < 0 or not 0 <= self.fact_rate <= 1:
            raise UserError(
                f"max_facts is {self.max_facts} and fact_rate is {self.fact_rate}; max_facts must be at least 0 and "
                "fact_rate between 0 and 1"
            )

    def __call__(self, document: str, rng: random.Random) -> Iterator[WordGraph]:
        """Graphs of a document; parts without a linked entity are left out."""
        text, *links = document.strip().split(_BEHIND)
        entity_of = {}
        for link in links:
            anchor, _, title = link.partition(_BETWEEN)
            entity = self.names.get(title, self.names.get(title.lower()))
            if entity is not None:
                entity_of[anchor] = entity
        for block in self._blocks(text):
            graph = self._graph(block, entity_of, rng)
            if graph is not None and len(graph) <= self.max_nodes:
                yield graph

    def _blocks(self, text: str) -> Iterator[str]:
        """Sentences joined until they are long enough; the rest at the end, however short."""
        block = ""
        for sentence in self.sentences(text):
            block = f"{block} {sentence}"
            if len(self.spelling(block)) + _MARKERS >= self.min_length:
                yield block
                block = ""
        if block:
            yield block

    def _graph(self, block: str, entity_of: Mapping[str, str], rng: random.Random) -> WordGraph | None:
        words, word_positions = [self.start], [0]
        entities: dict[str, int] = {}  # with their positions
        position = 1
        for part in filter(None, map(str.strip, block.split(_AROUND))):
            if (entity := entity_of.get(part)) is not None and entity not in entities:
                entities[entity] = position
                position += 1
            else:  # no anchor, an anchor without an entity, or an entity that already has its node
                ids = self.spelling(part)[: self.max_words]
                words.extend(ids)
                word_positions.extend(range(position, position + len(ids)))
                position += len(ids)
        if not entities:
            return None
        mentioned, facts = len(entities), self._sample_facts(entities, rng)
        for fact in facts:
            entities.setdefault(fact.tail, entities[fact.head] + 2)
        numbers = {entity: number for number, entity in enumerate(entities)}
        return WordGraph(
            words=(*words, self.stop),
            entities=tuple(entities),
            relations=tuple(fact.relation for fact in facts),
            positions=(
                *word_positions,
                position,
                *entities.values(),
                *(entities[fact.head] + 1 for fact in facts),
            ),
            mentioned=(True,) * mentioned + (False,) * (len(entities) - mentioned),
            ties=tuple((numbers[fact.head], numbers[fact.tail]) for fact in facts),
        )

    def _sample_facts(self, entities: Mapping[str, int], rng: random.Random) -> list[Triple]:
        """Sampled facts of the entities of a text, in text order."""
        sampled: list[Triple] = []
        for entity in entities:
            facts = self._facts.setdefault(entity, list(self.about(entity)))
            if facts and rng.random() > 1 - self.fact_rate:
                rng.shuffle(facts)
                sampled.extend(facts[: self.max_facts])
        return sampled
