"""The facts of a graph that reach texts: hung from the names that the texts mention (Liu et al. 2020, K-BERT).

The pieces of a text are the same with and without facts, so that two arms of an experiment differ in the facts alone.
Which facts are injected is the arm: the true ones, those of other names, random ones, or only what is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple, Wording
from mm_kptm.knowledge.injection.counterfactuals import objects_of, random_facts, swapped_facts
from mm_kptm.knowledge.injection.graph_names import EntityMention, GraphNames
from mm_kptm.knowledge.injection.sentence_tree import LONGEST, MOST_FACTS, TokenWithFacts, TreeBuilder
from mm_kptm.random_streams import RandomStream

Needed = Callable[[Triple], bool]  #: whether an example cannot be answered without a fact, put into words
TokenSequence = list[int | TokenWithFacts]  #: token ids of a text, those of a name that carries facts together


class FactInjector:
    """Hangs facts from the names that texts mention.

    Args:
        graph: the true facts.
        wording: a fact as text.
        most: facts that a name carries.
        draw: what swapped and random facts are drawn from.
        cased: whether names of another case are other names, as they are to a tokenizer that tells case.
    """

    def __init__(
        self, graph: KnowledgeGraph, wording: Wording, most: int, draw: RandomStream, *, cased: bool = False
    ) -> None:
        self.graph = graph
        self.names = GraphNames(graph, cased=cased)
        self.found: set[str] = set()  #: entities that a text named so far
        self._wording, self._most, self._draw = wording, most, draw
        self._known: dict[tuple[str, str | None, bool], tuple[Triple, ...]] = {}  # by entity, language, and if swapped
        self._spelled: dict[tuple[Tokenizer, str], tuple[int, ...]] = {}

    @cached_property
    def _swapped(self) -> dict[str, list[Triple]]:
        """The facts of each entity in the order of the true ones, with the objects of others."""
        facts: defaultdict[str, list[Triple]] = defaultdict(list)
        for fact in swapped_facts(tuple(self.graph), self._draw):
            facts[fact.head].append(fact)
        return facts

    @cached_property
    def _objects(self) -> dict[str, tuple[str, ...]]:
        return dict(objects_of(self.graph))

    def mentions(self, texts: Sequence[str], language: str | None = None) -> list[list[EntityMention]]:
        """Where each of some texts in one language names an entity with facts; quicker than one by one."""
        return self.names.find(texts, language)

    def facts(
        self,
        entity: str,
        arm: str,
        draw: RandomStream | None = None,
        needed: Needed | None = None,
        *,
        surface: str | None = None,
        language: str | None = None,
    ) -> tuple[Triple, ...]:
        """The facts about an entity in words, as many and of the same relations in every arm but ``oracle``.

        Args:
            entity: of the graph; nothing is known about another.
            arm: true, swapped, random, oracle or none.
            draw: of random facts, the objects; one for each text, so that they are drawn anew.
            needed: of oracle facts, which the example needs.
            surface: how the text names the entity; as the graph does when None.
            language: of the words, where the graph has them in several.
        """
        match arm:
            case "true":
                chosen = self._chosen(entity, language)
            case "swapped":
                chosen = self._chosen(entity, language, swapped=True)
            case "random":
                chosen = random_facts(self._chosen(entity, language), self._objects, draw or self._draw)
            case "oracle":
                worded = [self._in_words(fact, surface, language) for fact in self.graph.about(entity)]
                return tuple(fact for fact in worded if needed is not None and needed(fact))[: self._most]
            case _:
                return ()
        return tuple(self._in_words(fact, surface, language) for fact in chosen)

    def relations(self, entities: Sequence[str]) -> tuple[str, ...]:
        """The relations of the facts that some entities carry, in order of the alphabet: the shape of the facts."""
        return tuple(sorted(fact.relation for entity in entities for fact in self._chosen(entity, None)))

    def _chosen(self, entity: str, language: str | None, *, swapped: bool = False) -> tuple[Triple, ...]:
        """The first true facts of an entity, each wording once, or the swapped ones in their places."""
        if (entity, language, swapped) not in self._known:
            first = self.graph.about(entity)[: self._most]
            given = self._swapped[entity][: self._most] if swapped else first
            worded: dict[str, Triple] = {}
            for true, fact in zip(first, given, strict=True):
                worded.setdefault(self._wording(self.names.spelled(true, language)), fact)
            self._known[entity, language, swapped] = tuple(worded.values())
        return self._known[entity, language, swapped]

    def _in_words(self, fact: Triple, surface: str | None, language: str | None) -> Triple:
        words = self.names.spelled(fact, language)
        return words if surface is None else words._replace(head=surface)

    def _spell(self, tokenizer: Tokenizer, fact: str) -> tuple[int, ...]:
        if (tokenizer, fact) not in self._spelled:
            self._spelled[tokenizer, fact] = tokenizer.encode(f" {fact}").ids  # behind a name
        return self._spelled[tokenizer, fact]

    def inject(
        self,
        text: str,
        pieces: Pieces,
        tokenizer: Tokenizer,
        *,
        arm: str,
        example: str,
        needed: Needed | None = None,
        max_pieces: int | None = None,
        mentions: Sequence[EntityMention] | None = None,
        language: str | None = None,
    ) -> TokenSequence:
        """The first pieces of a text, with facts at those names that are kept whole.

        Args:
            text: what was cut into pieces.
            pieces: of the text.
            tokenizer: spells the facts.
            arm: which facts are injected.
            example: whose text it is.
            needed: the facts that it needs.
            max_pieces: how many pieces are kept; all when None.
            mentions: of the text, as :meth:`mentions` finds them; looked for when None.
            language: of the text.
        """
        kept = len(pieces.ids) if max_pieces is None else max_pieces
        draw = self._draw.child("random", example) if arm == "random" else None
        (mentions,) = self.mentions([text], language) if mentions is None else (mentions,)
        sequence: TokenSequence = []
        place = first = 0
        for start, end, entity in mentions:
            self.found.add(entity)
            while first < kept and pieces.spans[first][0] < start:
                first += 1
            after = first
            while after < len(pieces.ids) and pieces.spans[after][1] <= end:
                after += 1
            if not first < after <= kept:
                continue
            facts = self.facts(entity, arm, draw, needed, surface=text[start:end], language=language)
            if not facts:
                continue
            sequence += pieces.ids[place:first]
            branches = tuple(self._spell(tokenizer, self._wording(fact)) for fact in facts)
            sequence.append(TokenWithFacts(pieces.ids[first:after], branches))
            place = after
        return [*sequence, *pieces.ids[place:kept]]


def build_trees(trunks: Sequence[TokenSequence], *, max_length: int) -> Packed:
    """Trees of these trunks, flattened: columns ``ids``, ``positions``, ``words`` and ``branches``.

    Facts that do not fit are left out whole; a trunk is never longer than ``max_length``.
    """
    build = TreeBuilder(_no_text, max_facts=MOST_FACTS, max_length=min(max_length, LONGEST))
    trees = build(trunks)
    columns = {name: getattr(trees, name).numpy() for name in ("ids", "positions", "words", "branches")}
    return Packed(np.array(trees.layout.offsets, dtype=np.int64), columns)


def _no_text(word: str) -> Sequence[int]:
    raise TypeError(f"trees of token ids were to be built, but {word!r} is text")
