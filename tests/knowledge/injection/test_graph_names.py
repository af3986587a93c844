"""Names of a graph are found in texts as the tokenizer reads them and as `kg link` finds them."""

import unicodedata

import pytest

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.graph_names import GraphNames, same_name, tells_case
from mm_kptm.knowledge.linking.aliases import Aliases
from mm_kptm.knowledge.linking.linked_texts import LinkedText
from mm_kptm.knowledge.linking.linker import MentionLinker

IRI = "http://e/"
LABELLED = KnowledgeGraph(
    [
        (f"{IRI}1", f"{IRI}is_in", f"{IRI}2"),
        (f"{IRI}3", f"{IRI}is_in", f"{IRI}2"),
        (f"{IRI}3", f"{IRI}has", f"{IRI}The_sea"),
    ],
    NameIndex(
        {
            "en": {f"{IRI}1": ("Zürich", "Turicum"), f"{IRI}2": ("Europe",), f"{IRI}3": ("Genoa",)},
            "it": {f"{IRI}3": ("Genova",), f"{IRI}2": ("Europa",)},
            "und": {f"{IRI}3": ("GOA",)},
        }
    ),
)


def spans(graph, text, language=None, **how):
    (found,) = GraphNames(graph, **how).find([text], language)
    return [(text[one.start : one.end], one.entity) for one in found]


PLAIN = KnowledgeGraph(
    [("Zürich", "in", "x"), ("New York", "in", "x"), ("ＡＢＣ", "in", "x"), ("小猫", "in", "x"), ("art", "in", "x")]
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("in zürich", [("zürich", "Zürich")]),
        ("in ZÜRICH.", [("ZÜRICH", "Zürich")]),
        (unicodedata.normalize("NFD", "in Zürich!"), [(unicodedata.normalize("NFD", "Zürich"), "Zürich")]),
        ("new  york, Ｎｅｗ　Ｙｏｒｋ", [("new  york", "New York"), ("Ｎｅｗ　Ｙｏｒｋ", "New York")]),
        ("the abc", [("abc", "ＡＢＣ")]),
        ("一只小猫。", [("小猫", "小猫")]),
        ("a party", []),
        ("[ART] [MASK] art", [("ART", "art"), ("art", "art")]),
    ],
)
def test_case_composition_and_width_do_not_hide_a_name(text, found):
    assert spans(PLAIN, text) == found


def test_a_tokenizer_that_tells_case_tells_names_by_it():
    assert spans(PLAIN, "zürich Zürich", cased=True) == [("Zürich", "Zürich")]
    vocabulary = [*BERT_SPECIALS, *"abcABC"]
    assert tells_case(WordPiece(vocabulary, lowercase=False)) and not tells_case(WordPiece(vocabulary, lowercase=True))


def test_names_inside_special_tokens_are_none():
    assert spans(KnowledgeGraph([("mask", "is", "x")]), "a [MASK] and a mask") == [("mask", "mask")]


@pytest.mark.parametrize("language", [None, "en", "EN", "en-GB", "it", "fr"])
def test_labels_find_texts_as_kg_link_does(language):
    text = "From turicum to GENOA, Genova and Goa in Europe"
    known = Aliases.of_graph(LABELLED)
    asked = language if language is None or known.speaks(language) else None  # none in French: all are looked for
    (linked,) = MentionLinker(known, language=asked)([LinkedText("1", text)])
    linked = [(linked.surface(one), one.entity) for one in linked.mentions if one.entity != f"{IRI}2"]  # has no facts
    assert spans(LABELLED, text, language) == linked and len(linked) >= 2


def test_facts_are_said_in_labels_and_not_in_iris():
    names = GraphNames(LABELLED)
    first, _, last = LABELLED
    assert names.spelled(first) == names.spelled(first, "EN") == Triple("Zürich", "is in", "Europe")
    assert names.spelled(first, "it") == Triple("Zürich", "is in", "Europa")
    assert names.spelled(last, "en") == Triple("Genoa", "has", "The sea")
    assert GraphNames(PLAIN).spelled(Triple("a:b", "is", "C/D e")) == Triple("a:b", "is", "C/D e")  # no IRI


def test_spellings_of_one_name():
    assert same_name("Ｎｅｗ York", "new  york") and same_name("Straße", "STRASSE") and not same_name("art", "arts")
