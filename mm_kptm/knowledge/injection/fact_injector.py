"""Knowledge injection: facts of a graph attached to the names that a text mentions (Liu et al. 2020, K-BERT).

The tokens of a text are the same with and without facts, so that the arms of an experiment differ in the injected facts
alone: the true ones, those of other names, random ones, or only the needed ones.
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

Needed = Callable[[Triple], bool]  #: whether a fact is needed to answer an example
TokenSequence = list[int | TokenWithFacts]  #: token ids of a text; the tokens of a name with facts are grouped


class FactInjector:
    """Injects facts at the names that texts mention.

    Args:
        graph: graph of the true facts.
        wording: verbalisation of a fact.
        most: maximum number of facts per name.
        draw: random stream of swapped and random facts.
    """

    def __init__(self, graph: KnowledgeGraph, wording: Wording, most: int, draw: RandomStream) -> None:
        self.graph = graph
        self._wording, self._most, self._draw = wording, most, draw
        self._heads = frozenset(graph.heads)
        self._segment = Segmenter(graph.heads)
        self._known: dict[tuple[str, str], tuple[Triple, ...]] = {}  # where independent of the text
        self._spelled: dict[tuple[Tokenizer, str], tuple[int, ...]] = {}

    @cached_property
    def _swapped(self) -> KnowledgeGraph:
        return swapped(self.graph, self._draw)

    @cached_property
    def _objects(self) -> dict[str, tuple[str, ...]]:
        return dict(objects_of(self.graph))

    def names_in(self, text: str) -> frozenset[str]:
        """Names of the graph that a text mentions."""
        return self._heads.intersection(self._segment(text))

    def facts(
        self, name: str, arm: str, draw: RandomStream | None = None, needed: Needed | None = None
    ) -> tuple[Triple, ...]:
        """Facts that are injected at a name.

        Args:
            name: name of the graph; other names get no facts.
            arm: true, swapped, random, oracle or none.
            draw: random stream of the objects of random facts, one per text, so that texts differ.
            needed: predicate of the needed facts, for oracle facts.
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
            self._spelled[tokenizer, fact] = tokenizer.encode(f" {fact}").ids  # the facts follow a name
        return self._spelled[tokenizer, fact]

    def _of(self, name: str, arm: str) -> tuple[Triple, ...]:
        """All facts of a name in the true or the swapped graph."""
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
        """First tokens of a text, with facts at the names that are not truncated.

        Args:
            text: the original text.
            pieces: its tokens.
            tokenizer: tokenizer of the facts.
            arm: which facts are injected: true, swapped, random, oracle or none.
            example: id of the example, which seeds random facts.
            needed: predicate of the needed facts, for oracle facts.
            max_pieces: number of tokens kept; all when None.
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
    """Build sentence trees, flattened: columns ``ids``, ``positions``, ``words`` and ``branches``.

    Facts that do not fit are left out as a whole; a trunk is never longer than ``max_length``.
    """
    build = TreeBuilder(_no_text, max_facts=MOST_FACTS, max_length=min(max_length, LONGEST))
    trees = build(trunks)
    columns = {name: getattr(trees, name).numpy() for name in ("ids", "positions", "words", "branches")}
    return Packed(np.array(trees.layout.offsets, dtype=np.int64), columns)


def _no_text(word: str) -> Sequence[int]:
    raise TypeError(f"trees of token ids were to be built, but {word!r} is text")
