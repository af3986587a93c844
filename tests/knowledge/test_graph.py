from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import KnowledgeGraph, Triple, relation_and_tail, relation_blank_tail, tail_only


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "graph.spo"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_facts_come_in_the_order_of_the_file_and_once(tmp_path: Path) -> None:
    file = written(tmp_path, "cat\tis\tanimal\nrome\tis\tcity\ncat\teats\tfish\ncat\tis\tanimal\n")
    graph = KnowledgeGraph.open(file)
    assert list(graph) == [
        Triple("cat", "is", "animal"),
        Triple("rome", "is", "city"),
        Triple("cat", "eats", "fish"),
    ]
    assert len(graph) == 3
    assert graph.heads == ("cat", "rome")
    assert graph.about("cat") == (Triple("cat", "is", "animal"), Triple("cat", "eats", "fish"))
    assert graph.about("dog") == ()


def test_a_fact_is_worded_as_asked_and_each_wording_stands_once() -> None:
    graph = KnowledgeGraph([Triple("cat", "hunts", "fish"), Triple("cat", "eats", "fish")])
    assert graph.facts(relation_and_tail)("cat") == ["huntsfish", "eatsfish"]
    assert graph.facts(relation_blank_tail)("cat") == ["hunts fish", "eats fish"]
    assert graph.facts(tail_only)("cat") == ["fish"]
    assert graph.facts()("dog") == []


def test_everything_is_text(tmp_path: Path) -> None:
    graph = KnowledgeGraph.open(written(tmp_path, "007\tNA\tnull\nNew York\tis in\t1.0\n"))
    assert list(graph) == [Triple("007", "NA", "null"), Triple("New York", "is in", "1.0")]


def test_line_ends_marks_and_empty_lines_are_no_text(tmp_path: Path) -> None:
    graph = KnowledgeGraph.open(written(tmp_path, "\ufeff小猫\t是\t动物\r\n\r\n鱼\t在\t水 \n".encode()))
    assert list(graph) == [Triple("小猫", "是", "动物"), Triple("鱼", "在", "水")]


def test_several_files_make_one_graph(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    files = [written(tmp_path, "a\tr\tb\n"), written(tmp_path / "more", "a\tr\tb\na\tr\tc\n")]
    assert [triple.tail for triple in KnowledgeGraph.open(*files)] == ["b", "c"]


@pytest.mark.parametrize(
    ("line", "parts"), [("cat is animal", 1), ("cat\tis", 2), ("cat\tis\t", 2), ("cat\tis\tan\tanimal", 4)]
)
def test_a_line_that_is_no_triple_is_named(tmp_path: Path, line: str, parts: int) -> None:
    file = written(tmp_path, f"rome\tis\tcity\n{line}\n")
    with pytest.raises(UserError) as raised:
        KnowledgeGraph.open(file)
    assert str(raised.value) == (
        f"{file}, line 2 holds {parts} parts between tabs ({line.strip()!r}); a triple is head, relation and tail"
    )


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, b"rome\tis\tcity\nk\xf6ln\tis\tcity\n")
    with pytest.raises(UserError, match=r"graph\.spo, line 2 is not UTF-8; save the file in that encoding"):
        KnowledgeGraph.open(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none\.spo; give the path of a \.spo or \.tsv file"):
        KnowledgeGraph.open(tmp_path / "none.spo")
