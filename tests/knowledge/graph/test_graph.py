import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import bulk_reader
from mm_kptm.knowledge.graph.bulk_reader import read_at_once
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple, read_triples, relation_and_tail, relation_blank_tail, tail_only


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
    ("line", "parts"),
    [
        ("cat is animal", "1 parts between tabs"),
        ("cat\tis", "2 parts between tabs"),
        ("cat\tis\t", "3 parts between tabs, of which number 3 is empty"),
        ("cat\tis\tanimal\t", "4 parts between tabs, of which number 4 is empty"),
        ("\tis\t\t", "4 parts between tabs, of which number 1, number 3, number 4 are empty"),
        ("cat\tis\tan\tanimal", "4 parts between tabs"),
    ],
)
def test_a_line_that_is_no_triple_is_named(tmp_path: Path, line: str, parts: str) -> None:
    file = written(tmp_path, f"rome\tis\tcity\n{line}\n")
    with pytest.raises(UserError) as raised:
        KnowledgeGraph.open(file)
    assert str(raised.value) == (f"{file}, line 2 holds {parts} ({line!r}); a triple is head, relation and tail")


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, b"rome\tis\tcity\nk\xf6ln\tis\tcity\n")
    with pytest.raises(UserError, match=r"graph\.spo, line 2 is not UTF-8; save the file in that encoding"):
        KnowledgeGraph.open(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none\.spo; give the path of a \.spo or \.tsv file"):
        KnowledgeGraph.open(tmp_path / "none.spo")


MIXED = ["小猫\t是\t动物", 'NA\t"r"\tnull', "rome\tis in\titaly", "小猫\t是\t动物", "b\tr\tb", "italy\t#\trome"]


@pytest.mark.parametrize(
    ("text", "at_once"),
    [
        ("\n".join(MIXED).encode(), True),
        ("\n".join(["", *MIXED, "", ""]).encode(), True),
        (("\ufeff" + "\n".join(MIXED) + "\n").encode(), True),
        ("\r\n".join(MIXED).encode(), False),
        (" \n".join(MIXED).encode(), False),
        ("\n \t\n".join(MIXED).encode(), False),
    ],
)
@pytest.mark.parametrize("block", [5, 30, bulk_reader.BLOCK])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_read_at_once_is_the_same_graph_as_line_by_line(
    tmp_path: Path, text: bytes, at_once: bool, packed: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_reader, "BLOCK", block)
    file = tmp_path / ("graph.tsv.gz" if packed else "graph.tsv")
    file.write_bytes(gzip.compress(text) if packed else text)
    assert (read_at_once([file]) is not None) == at_once
    whole, slow = KnowledgeGraph.open(file, file), KnowledgeGraph([*read_triples(file)])
    assert (whole.entities, whole.relations) == (slow.entities, slow.relations)
    assert whole.numbered().tolist() == slow.numbered().tolist()
    assert list(whole) == list(slow) == [Triple(*line.split("\t")) for line in dict.fromkeys(MIXED)]


def test_a_broken_file_is_named_however_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "graph.tsv.gz"
    file.write_bytes(gzip.compress("\n".join(MIXED).encode())[:-9])
    with pytest.raises(UserError, match=r"graph\.tsv\.gz breaks off after line \d+; fetch it again"):
        KnowledgeGraph.open(file)
    spoilt = bytearray(gzip.compress("\n".join(MIXED).encode()))
    spoilt[10] = 7  # a kind of block that there is not
    file.write_bytes(spoilt)
    with pytest.raises(UserError, match=r"graph\.tsv\.gz breaks off after line \d+; fetch it again"):
        KnowledgeGraph.open(file)


def test_a_row_that_is_no_triple_is_named() -> None:
    with pytest.raises(UserError, match=r"a triple is head, relation and tail, not \('a', 'r'\)"):
        KnowledgeGraph([("a", "r", "b"), ("a", "r")])  # type: ignore[list-item]


def test_neighbours_are_put_into_words_when_they_are_read() -> None:
    graph = KnowledgeGraph([("b", "r", "c"), ("a", "r", "b"), ("a", "s", "c")])
    near = graph.around("a", 2)
    assert len(near) == 3 and "_words" not in vars(near)
    assert near[0] == ("a", "r", "b") and near[1:] == (("a", "s", "c"), ("b", "r", "c"))
    assert near == graph.around("a", 2) and hash(near) == hash(tuple(near)) and near != graph.around("a", 1)
    assert repr(near) == repr(tuple(near)) and near != [*near]
    together = graph.around_each(["a", "b"], 2)
    assert together.sizes.tolist() == [3, 1] and together.triples[-1].tolist() == [0, 0, 1]


BUILT = """
import hashlib, sys
from pathlib import Path
import networkx as nx
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.formats import from_networkx, open_graph
folder = Path(sys.argv[1])
edges = nx.MultiDiGraph()
edges.add_edges_from((f"n{i * 7 % 11}", f"n{i}", {"relation": f"r{i % 3}"}) for i in range(40))
sources = [*sorted(folder.iterdir()), "pykeen:nations"]
graphs = [*map(open_graph, sources), from_networkx(edges), KnowledgeGraph(open_graph(folder / "b.tsv"))]
for graph in graphs:
    store, found = graph.store, hashlib.sha256()
    for part in (store.starts, store.relations, store.tails, store.came, graph.numbered()):
        found.update(part.tobytes())
    told = (graph.entities, graph.relations, graph.heads, tuple(graph), graph.words)
    print(len(graph), found.hexdigest(), hashlib.sha256(repr(told).encode()).hexdigest())
"""


def test_graphs_do_not_depend_on_how_python_hashes(tmp_path: Path) -> None:
    """Every reader, in two processes whose sets have different orders."""
    lines = [f"e{i * 5 % 13}\tr{i % 4}\te{i}\n" for i in range(60)]
    (tmp_path / "a.spo").write_text("\r\n".join(lines))
    (tmp_path / "b.tsv").write_text("".join(lines))
    (tmp_path / "c.nt").write_text("".join(f"<x{i % 7}> <p> <x{i}> .\n" for i in range(30)))
    (tmp_path / "d.csv").write_text(
        "".join(f"/a/x\t/r/IsA\t/c/en/w{i % 5}\t/c/{'en' if i % 2 else 'de'}/v{i}\t{{}}\n" for i in range(30))
    )
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "wikidata5m_transductive_train.txt").write_text("".join(lines))
    (tmp_path / "e" / "wikidata5m_entity.txt").write_text("".join(f"e{i}\tname {i}\talias\n" for i in range(13)))
    (tmp_path / "f").mkdir()
    nouns = "".join(f"0000{i:04} 03 n 01 w{i} 0 001 ~ 0000{(i + 1) % 9:04} n 0000 | gloss {i}\n" for i in range(9))
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / "f" / f"data.{kind}").write_text(nouns if kind == "noun" else "")
    told = [
        subprocess.run(
            [sys.executable, "-c", BUILT, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] and len(told[0].splitlines()) == 9
