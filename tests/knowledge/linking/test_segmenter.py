import json
from pathlib import Path

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import relation_and_tail
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder, spelling_of
from mm_kptm.knowledge.linking.segmenter import Segmenter, running

FIXTURE = Path(__file__).parents[2] / "golden/data/kbert/zh_en"


def test_the_longest_name_is_found() -> None:
    cut = Segmenter(["New York", "New York City", "上海", "上海市", "York"])
    assert cut("New York City, New York and York") == ["New York City", ",", "New York", "and", "York"]
    assert cut("上海市在上海") == ["上海市", "在", "上海"]


def test_a_name_is_no_part_of_a_word_where_words_are_written_apart() -> None:
    assert Segmenter(["art", "cat"])("a party of cats, a cat") == ["a", "party", "of", "cats", ",", "a", "cat"]


def test_a_name_is_found_inside_text_without_blanks() -> None:
    assert Segmenter(["Mars", "小猫"])("小猫去Mars了") == ["小猫", "去", "Mars", "了"]


def test_blanks_are_counted_once_and_not_invented() -> None:
    cut = Segmenter(["New  York", "小猫"])
    assert cut("New\n York") == ["New  York"]
    assert cut("NewYork 小 猫") == ["NewYork", "小", "猫"]


def test_words_of_all_scripts_stay_whole() -> None:
    assert Segmenter([])("größer हिन्दी العَرَبِيَّة cafe\u0301") == ["größer", "हिन्दी", "العَرَبِيَّة", "cafe\u0301"]


def test_tags_are_words_wherever_they_stand() -> None:
    assert Segmenter(["小猫"])("[CLS]小猫[SEP][MASK]x") == ["[CLS]", "小猫", "[SEP]", "[MASK]", "x"]
    assert Segmenter([], tags=[])("[x]") == ["[", "x", "]"]


def test_nothing_is_cut_into_nothing() -> None:
    assert Segmenter(["", " "])("  ") == []


def test_trees_are_those_of_the_recorded_words() -> None:
    graph = KnowledgeGraph.open(FIXTURE / "toy.spo")
    cut = Segmenter(graph.heads)
    build = TreeBuilder(spelling_of(Characters.open(FIXTURE / "vocab.txt")), graph.facts(relation_and_tail))
    for told in json.loads((FIXTURE / "pipeline.json").read_text(encoding="utf-8")):
        ours, theirs = build([cut(told["text"])]), build([told["words"]])
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.positions.tolist() == theirs.positions.tolist()
        assert ours.branches.tolist() == theirs.branches.tolist()


def test_words_know_their_characters_and_run_on_as_text():
    segment = Segmenter(["New York", "小猫"])
    text = running(["in", "New", "York", ",", "小", "猫", "sits"])
    assert text == "in New York ,小猫sits"
    assert [(word.text, text[word.start : word.end]) for word in segment.words(text)] == [
        ("in", "in"), ("New York", "New York"), (",", ","), ("小猫", "小猫"), ("sits", "sits")
    ]  # fmt: skip
