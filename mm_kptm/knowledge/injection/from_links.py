"""Model inputs from linked texts: ERNIE's entities, KnowBERT's candidates, K-BERT's words with facts."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.knowledge.injection.entity_grid import Mention
from mm_kptm.knowledge.injection.sentence_tree import Facts, TokenWithFacts
from mm_kptm.knowledge.linking.candidates import CandidateSpan, Finder
from mm_kptm.knowledge.linking.linked_texts import Link, LinkedText
from mm_kptm.knowledge.linking.segmenter import Segmenter


def entity_mentions(linked: LinkedText) -> tuple[Mention, ...]:
    """Mentions with an entity, for ERNIE's token grid (:mod:`~mm_kptm.knowledge.injection.entity_grid`)."""
    return tuple(Mention(link.entity, link.start, link.end, link.score) for link in linked.mentions if link.entity)


def candidate_spans(linked: LinkedText) -> Finder:
    """Candidate generator of KnowBERT from the links of this text, which may be truncated.

    A mention that ends inside a word is extended to the whole word; a truncated mention is dropped.
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
    """Words of K-BERT's sentence tree: each linked mention carries the facts of its entity.

    Of overlapping mentions the first wins.

    Args:
        linked: the text with its mentions.
        facts: facts of an entity, such as :meth:`~mm_kptm.knowledge.graph.graph.KnowledgeGraph.facts`.
        cut: segments the text between mentions.
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
    """Character spans of words in a text; only characters that the tokenizer drops lie between them."""
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
