"""Knowledge injection: facts of a graph attached to the names that a text mentions (Liu et al. 2020, K-BERT).

The tokens of a text are the same with and without facts, so that the arms of an experiment differ in the injected facts
alone: the true ones, those of other names, random ones, or only the needed ones.
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

OPEN = "open"  #: column of trees whose tokens all see each other

Needed = Callable[[Triple], bool]  #: whether a fact is needed to answer an example
TokenSequence = list[int | TokenWithFacts]  #: token ids of a text; the tokens of a name with facts are grouped


class FactInjector:
    """Injects facts at the names that texts mention.

    Args:
        graph: graph of the true facts.
        wording: verbalisation of a fact.
        most: maximum number of facts per name.
        draw: random stream of swapped and random facts.
        cased: whether names that differ in case are different names, as for a cased tokenizer.
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
        """Mentions of entities with facts in each of some texts of one language, in one batch."""
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
        """Verbalised facts of an entity: as many and of the same relations in every arm but ``oracle``.

        Args:
            entity: entity of the graph; others get no facts.
            arm: true, swapped, random, oracle or none.
            draw: random stream of the objects of random facts, one per text, so that texts differ.
            needed: predicate of the needed facts, for oracle facts.
            surface: surface form of the entity in the text, which heads of facts get; its label if None.
            language: language of the labels, where the graph has several.
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
            self._spelled[tokenizer, fact] = tokenizer.encode(f" {fact}").ids  # the facts follow a name
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
        """First tokens of a text, with facts at the names that are not truncated.

        Args:
            text: the original text.
            pieces: its tokens.
            tokenizer: tokenizer of the facts.
            arm: which facts are injected: true, swapped, random, oracle or none.
            example: id of the example, which seeds random facts.
            needed: predicate of the needed facts, for oracle facts.
            max_pieces: number of tokens kept; all when None.
            mentions: mentions of the text, from :meth:`mentions`; found here if None.
            language: language of the text.
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


def build_trees(trunks: Sequence[TokenSequence], *, max_length: int, visible_matrix: bool = True) -> Packed:
    """Build sentence trees, flattened: columns ``ids``, ``positions``, ``words`` and ``branches``.

    Facts that do not fit are left out as a whole; a trunk is never longer than ``max_length``. Without a visible matrix
    there is a column ``open``, too: every token of a tree then sees every other one.
    """
    build = TreeBuilder(_no_text, max_facts=MOST_FACTS, max_length=min(max_length, LONGEST))
    trees = build(trunks)
    columns = {name: getattr(trees, name).numpy() for name in ("ids", "positions", "words", "branches")}
    if not visible_matrix:
        columns[OPEN] = np.ones(len(columns["ids"]), dtype=np.int8)
    return Packed(np.array(trees.layout.offsets, dtype=np.int64), columns)


def _no_text(word: str) -> Sequence[int]:
    raise TypeError(f"trees of token ids were to be built, but {word!r} is text")
