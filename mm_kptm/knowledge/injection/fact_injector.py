"""What texts are told: the facts of a graph, hung from the names that the texts mention (Liu et al. 2020, K-BERT).

The pieces of a text are the same with and without facts, so that two arms of an experiment differ in what is told
alone. Which facts are told is the arm: the true ones, those of other names, random ones, or only what is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple, Wording
from mm_kptm.knowledge.injection.counterfactuals import objects_of, swapped
from mm_kptm.knowledge.injection.sentence_tree import LONGEST, MOST_FACTS, TokenWithFacts, TreeBuilder
from mm_kptm.knowledge.linking.segmenter import Segmenter
from mm_kptm.random_streams import RandomStream

Needed = Callable[[Triple], bool]  #: whether an example cannot be answered without a fact
TokenSequence = list[int | TokenWithFacts]  #: token ids of a text, those of a name that carries facts together


class FactInjector:
    """Hangs facts from the names that texts mention.

    Args:
        graph: the true facts.
        wording: a fact as text.
        most: facts that a name carries.
        draw: what swapped and random facts are drawn from.
    """

    def __init__(self, graph: KnowledgeGraph, wording: Wording, most: int, draw: RandomStream) -> None:
        self.graph = graph
        self._wording, self._most, self._draw = wording, most, draw
        self._heads = frozenset(graph.heads)
        self._segment = Segmenter(graph.heads)
        self._known: dict[tuple[str, str], tuple[Triple, ...]] = {}  # by name and arm, where the text does not matter
        self._spelled: dict[tuple[Tokenizer, str], tuple[int, ...]] = {}

    @cached_property
    def _swapped(self) -> KnowledgeGraph:
        return swapped(self.graph, self._draw)

    @cached_property
    def _objects(self) -> dict[str, tuple[str, ...]]:
        return dict(objects_of(self.graph))

    def names_in(self, text: str) -> frozenset[str]:
        """The names of the graph that a text mentions."""
        return self._heads.intersection(self._segment(text))

    def facts(
        self, name: str, arm: str, draw: RandomStream | None = None, needed: Needed | None = None
    ) -> tuple[Triple, ...]:
        """What is told about a name.

        Args:
            name: of the graph; nothing is told about another.
            arm: true, swapped, random, oracle or none.
            draw: of random facts, the objects; one for each text, so that they are drawn anew.
            needed: of oracle facts, which the example needs.
        """
        match arm:
            case "true" | "swapped":
                return self._of(name, arm)[: self._most]
            case "random":
                draw = self._draw if draw is None else draw
                true = self._of(name, "true")[: self._most]
                objects = [self._objects[fact.relation] for fact in true]
                return tuple(
                    fact._replace(tail=known[draw.one(len(known))]) for fact, known in zip(true, objects, strict=True)
                )
            case "oracle":
                true = self._of(name, "true")
                return tuple(fact for fact in true if needed is not None and needed(fact))[: self._most]
            case _:
                return ()

    def _spell(self, tokenizer: Tokenizer, fact: str) -> tuple[int, ...]:
        if (tokenizer, fact) not in self._spelled:
            self._spelled[tokenizer, fact] = tokenizer.encode(f" {fact}").ids  # behind a name
        return self._spelled[tokenizer, fact]

    def _of(self, name: str, arm: str) -> tuple[Triple, ...]:
        """Everything that the true or the swapped graph says of a name."""
        if (name, arm) not in self._known:
            self._known[name, arm] = (self.graph if arm == "true" else self._swapped).about(name)
        return self._known[name, arm]

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
        """
        kept = len(pieces.ids) if max_pieces is None else max_pieces
        draw = self._draw.child("random", example) if arm == "random" else None
        sequence: TokenSequence = []
        place = first = 0
        for word in self._segment.words(text):
            if word.text not in self._heads:
                continue
            while first < kept and pieces.spans[first][0] < word.start:
                first += 1
            after = first
            while after < len(pieces.ids) and pieces.spans[after][1] <= word.end:
                after += 1
            facts = () if not first < after <= kept else self.facts(word.text, arm, draw, needed)
            if not facts:
                continue
            sequence += pieces.ids[place:first]
            texts = dict.fromkeys(map(self._wording, facts))
            branches = tuple(self._spell(tokenizer, text) for text in texts)
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
