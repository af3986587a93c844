"""A linked text reaches ERNIE's token grid, KnowBERT's candidates and K-BERT's sentence tree."""

from __future__ import annotations

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import relation_blank_tail
from mm_kptm.knowledge.injection.candidate_spans import CandidateWordSpans, Spanner, batch
from mm_kptm.knowledge.injection.entity_grid import Mention, first_pieces
from mm_kptm.knowledge.injection.from_links import candidate_spans, entity_mentions, grafted_words
from mm_kptm.knowledge.injection.mention_markers import Annotated, Annotator
from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts, TreeBuilder, spelling_of
from mm_kptm.knowledge.linking.candidates import CandidateSpan
from mm_kptm.knowledge.linking.linked_texts import Candidate, Link, LinkedText

PIECES = (*BERT_SPECIALS, "the", "mayor", "of", "par", "##is", "and", "rome", ",", "a", "city", "is", "new")
TEXT = "The mayor of (Paris), Rome"
PARIS = Link(14, 19, (Candidate("Q90", 0.6, 0.9), Candidate("Q1", 0.2, 0.1)), "Q90")
ROME = Link(22, 26, (Candidate("Q220", 0.5, 0.2),), None)
LINKED = LinkedText("1", TEXT, "en", (PARIS, ROME))


def test_entities_stand_at_the_tokens_of_their_mentions():
    assert entity_mentions(LINKED) == (Mention("Q90", 14, 19, 0.9),)
    tokenizer = WordPiece(PIECES, lowercase=True)
    annotate = Annotator(tokenizer, {"Q90": 7}, place=first_pieces)
    made = annotate(Annotated(TEXT, entity_mentions(LINKED)))
    assert made is not None
    assert [(id_, entity) for id_, entity in zip(made.ids, made.entities, strict=True) if entity >= 0] == [(8, 7)]


def test_candidates_stand_at_the_words_of_their_mentions():
    words = CandidateWordSpans(PIECES)
    find = candidate_spans(LINKED)
    assert words(TEXT) == ["The", "mayor", "of", "(", "Paris", ")", ",", "Rome"]
    assert find(words(TEXT)) == [
        CandidateSpan(4, 4, ("Q90", "Q1"), (0.6 / 0.8, 0.2 / 0.8)),
        CandidateSpan(7, 7, ("Q220",), (1.0,)),
    ]
    assert find(words(TEXT)[:5]) == [CandidateSpan(4, 4, ("Q90", "Q1"), (0.6 / 0.8, 0.2 / 0.8))]
    assert find(words(TEXT)[:4]) == find([]) == []
    inputs = batch([Spanner(words, {"wiki": find})(TEXT)], {"wiki": {"Q90": 5, "Q1": 6, "Q220": 7}})
    assert inputs.candidates is not None
    assert inputs.candidates["wiki"].entities.tolist() == [[5, 6], [7, 0]]


def test_a_mention_whose_end_was_cut_off_is_no_span():
    linked = LinkedText("1", "New Rome's", None, (Link(0, 8, (Candidate("Q1", 1.0, 1.0),), "Q1"),))
    find = candidate_spans(linked)
    assert find(["New"]) == []
    assert find(["New", "Rome"]) == find(["New", "Rome", "'", "s"]) == [CandidateSpan(0, 1, ("Q1",), (1.0,))]
    assert find(["New", "Rome's"]) == [CandidateSpan(0, 1, ("Q1",), (1.0,))]


def test_words_are_found_behind_what_the_tokenizer_drops():
    """Control characters vanish inside and between words."""
    text = "a\x00 P\u200baris\ufffd Paris"
    start = text.rindex("Paris")
    linked = LinkedText("1", text, None, (Link(start, start + 5, (Candidate("Q90", 0.0, 1.0),), "Q90"),))
    words = CandidateWordSpans(PIECES)(text)
    assert candidate_spans(linked)(words) == [CandidateSpan(2, 2, ("Q90",), (1.0,))]


def test_facts_hang_from_the_entity_and_not_from_its_words():
    graph = KnowledgeGraph([("Q90", "is", "a city"), ("Rome", "is", "new")])
    words = grafted_words(LINKED, graph.facts(relation_blank_tail))
    assert words == ["The", "mayor", "of", "(", TokenWithFacts("Paris", ("is a city",)), ")", ",", "Rome"]
    trees = TreeBuilder(spelling_of(WordPiece(PIECES, lowercase=True)))([words])
    assert trees.branches.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert grafted_words(LINKED, {"Q90": ["is a city"]}.get) == words
    assert TokenWithFacts("Paris", ()) in grafted_words(LINKED, {}.get)


def test_of_overlapping_mentions_the_first_carries_facts():
    linked = LinkedText("1", "New York", None, (Link(0, 8, (), "Q60"), Link(4, 8, (), "Q42462")))
    assert grafted_words(linked, lambda entity: [entity]) == [TokenWithFacts("New York", ("Q60",))]
