"""Linked texts as systems read them: ERNIE's entities, KnowBERT's candidates, K-BERT's words with facts."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.knowledge.injection.entity_grid import Mention
from mm_kptm.knowledge.injection.sentence_tree import Facts, TokenWithFacts
from mm_kptm.knowledge.linking.candidates import CandidateSpan, Finder
from mm_kptm.knowledge.linking.linked_texts import Link, LinkedText
from mm_kptm.knowledge.linking.segmenter import Segmenter


def entity_mentions(linked: LinkedText) -> tuple[Mention, ...]:
    """Linked mentions for the token grid of ERNIE (:mod:`~mm_kptm.knowledge.injection.entity_grid`)."""
    return tuple(Mention(link.entity, link.start, link.end, link.score) for link in linked.mentions if link.entity)


def candidate_spans(linked: LinkedText) -> Finder:
    """Finds the candidates of KnowBERT in the words of this very text, their end cut off or not.

    A mention that ends inside a word takes the whole of it; one whose end was cut off is no span.
    """

    def find(words: Sequence[str]) -> list[CandidateSpan]:
        places = _places(words, linked.text)
        spans = []
        for link in linked.mentions:
            inside = [word for word, (start, end) in enumerate(places) if start < link.end and end > link.start]
            if inside and link.candidates and link.end <= places[-1][1]:
                spans.append(_span(inside[0], inside[-1], link))
        return spans

    return find


def grafted_words(linked: LinkedText, facts: Facts, cut: Segmenter | None = None) -> list[str | TokenWithFacts]:
    """The words of K-BERT's sentence tree: from a mention hang the facts of the entity that it means.

    Of mentions that overlap the first counts.

    Args:
        linked: the text with its mentions.
        facts: of an entity, such as :meth:`~mm_kptm.knowledge.graph.graph.KnowledgeGraph.facts` gives.
        cut: cuts the text between mentions.
    """
    cut = Segmenter([]) if cut is None else cut
    words: list[str | TokenWithFacts] = []
    place = 0
    for link in linked.mentions:
        if link.entity is not None and link.start >= place:
            words += cut(linked.text[place : link.start])
            words.append(TokenWithFacts(linked.surface(link), tuple(facts(link.entity) or ())))
            place = link.end
    return [*words, *cut(linked.text[place:])]


def _places(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """First character of each word and the one after its last; between them stands only what a tokenizer drops."""
    places, end = [], 0
    for word in words:
        start = text.index(word[0], end)
        end = start
        for letter in word:
            end = text.index(letter, end) + 1
        places.append((start, end))
    return places


def _span(first: int, last: int, link: Link) -> CandidateSpan:
    total = sum(one.prior for one in link.candidates)
    share = [one.prior / total if total else 1 / len(link.candidates) for one in link.candidates]
    return CandidateSpan(first, last, tuple(one.entity for one in link.candidates), tuple(share))
