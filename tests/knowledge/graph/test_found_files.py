"""Graphs as they are found: packed, marked, cut short, doubled, in capitals; each read right or refused by name."""

import bz2
import gzip
import lzma
from pathlib import Path

import networkx as nx
import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.formats import from_networkx, open_graph, pykeen_data, to_networkx
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.openke import read_entity_ids
from mm_kptm.knowledge.graph.splits import open_splits
from mm_kptm.knowledge.graph.triples import read_triples
from mm_kptm.knowledge.graph.wikidata5m import Numbering, read_descriptions
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.ernie_instances import read_documents
from mm_kptm.knowledge.injection.word_graph import read_graphs
from mm_kptm.knowledge.linking.aliases import open_aliases
from mm_kptm.knowledge.linking.candidates import read_names
from mm_kptm.knowledge.linking.word_senses import SenseList

LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
TRIPLES = "Zürich\tin\tSchweiz\nOslo\tin\tNorwegen\n"


@pytest.mark.parametrize("name", ["g.tsv", "g.tsv.gz", "g.tsv.bz2", "g.tsv.xz", "g"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_triples_are_unpacked_by_their_content_whatever_their_name(tmp_path: Path, name, pack, mark, end) -> None:
    (tmp_path / name).write_bytes(pack((mark + TRIPLES.replace("\n", end)).encode()))
    assert list(open_graph(tmp_path / name)) == [("Zürich", "in", "Schweiz"), ("Oslo", "in", "Norwegen")]


@pytest.mark.parametrize("name", ["g.nt", "g.NT", "g.nt.gz", "g.nt.bz2"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_rdf_is_unpacked_by_its_content(tmp_path: Path, name, pack) -> None:
    (tmp_path / name).write_bytes(pack("\ufeff<http://e/a> <http://e/r> <http://e/b> .\r\n".encode()))
    assert list(open_graph(tmp_path / name)) == [("http://e/a", "http://e/r", "http://e/b")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TRIPLES.encode("utf-16"), r"g.tsv, line 1 is not UTF-8; save the file in that encoding"),
        (TRIPLES.encode("utf-16-le"), r"g.tsv, line 1 is not UTF-8; save the file in that encoding"),
        (b"a\tb\tc\n" + TRIPLES.encode("latin-1"), r"g.tsv, line 2 is not UTF-8; save the file in that encoding"),
        (gzip.compress(TRIPLES.encode() * 99, mtime=0)[:-9], r"g.tsv breaks off after line \d+; fetch it again"),
        (bz2.compress(TRIPLES.encode() * 99)[:-9], r"g.tsv breaks off after line \d+; fetch it again"),
        (lzma.compress(TRIPLES.encode() * 99)[:-9], r"g.tsv breaks off after line \d+; fetch it again"),
        (bz2.compress(b"x")[:8] + b"nonsense", r"g.tsv breaks off after line 0; fetch it again"),
        (b"PK\x03\x04....", r"g.tsv is a zip archive, which is not unpacked here; unpack it"),
        (b"\x28\xb5\x2f\xfd..", r"g.tsv is packed by zstd, which is not unpacked here"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            r"g.tsv is a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`",
        ),
    ],
)
def test_what_is_no_text_is_said_to_be_so(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "g.tsv").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        open_graph(tmp_path / "g.tsv")


SECONDARY = {
    "names": (lambda path: read_names(path)["Zürich"].times, "Zürich\t3\t7,1.0,Zürich\n", 3),
    "senses": (
        lambda path: len(SenseList.open(path).senses["Zürich"]),
        '{"type": "lemma", "id": "Zürich%1", "synset": "s", "pos": "n", "count": 1}\n',
        1,
    ),
    "descriptions": (lambda path: dict(read_descriptions(path).numbers), "Zürich\ta town\n", {"Zürich": 0}),
    "characters": (
        lambda path: Characters.open(path).specials.pad,
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nü\n",
        0,
    ),
    "documents": (lambda path: read_documents(path, path, {}), "1\t1\t9\n", [[[(9, 9)]]]),
    "graphs": (
        lambda path: next(read_graphs(path)).entities,
        '{"nodes": [5, "Zürich"], "soft_position": [0, 1], "token_type_ids": [0, 1], "adj": [[1, 1], [1, 1]]}\n',
        ("Zürich",),
    ),
    "ids": (read_entity_ids, "1\nZürich\t0\n", {"Zürich": 0}),
    "aliases": (lambda path: sorted(open_aliases(path).entities), "Zürich\tQ1\n", ["Q1"]),
}


@pytest.mark.parametrize("kind", SECONDARY)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_secondary_files_are_read_marked_packed_and_with_any_line_ends(tmp_path: Path, kind: str, pack) -> None:
    read, text, expected = SECONDARY[kind]
    path = tmp_path / "file.tsv"
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        path.write_bytes(pack(content.encode()))
        assert read(path) == expected


@pytest.mark.parametrize("kind", [kind for kind, (_, text, _) in SECONDARY.items() if "ü" in text])
def test_secondary_files_in_another_encoding_are_one_sentence(tmp_path: Path, kind: str) -> None:
    read, text, _ = SECONDARY[kind]
    (tmp_path / "file.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"file.tsv, line \d is not UTF-8; save the file in that encoding"):
        read(tmp_path / "file.tsv")


def test_a_marked_description_keeps_its_triples(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("\ufeffQ1\tone\nQ2\ttwo\n")
    (tmp_path / "t.tsv").write_text("Q1\tP1\tQ2\n")
    numbering = Numbering(read_descriptions(tmp_path / "d.tsv").numbers)
    assert numbering(read_triples(tmp_path / "t.tsv")) == [(0, 0, 1)] and numbering.left_out == 0


def test_language_tags_are_compared_without_regard_to_case(tmp_path: Path) -> None:
    rows = [
        f'<http://e/a> {LABEL} "Rome"@EN .',
        f'<http://e/b> {LABEL} "Paris"@en .',
        "<http://e/a> <r:r> <http://e/b> .",
    ]
    (tmp_path / "names.nt").write_text("\n".join([*rows, f'<http://e/c> {LABEL} "Leeds"@en-GB .']) + "\n")
    graph = open_graph(tmp_path / "names.nt")
    assert graph.words.languages == ("en", "en-gb")
    assert graph.aliases("http://e/a", "EN") == ("Rome",) and graph.aliases("http://e/c", "en-GB") == ("Leeds",)
    (tmp_path / "names.tsv").write_text("surface\tentity\tlanguage\nRome\tQ1\tEN\nParis\tQ2\ten\nLeeds\tQ3\ten-GB\n")
    for source in ("names.nt", "names.tsv"):
        aliases = open_aliases(tmp_path / source)
        aliases.require("EN", source)
        names = aliases.names("En")
        assert [found[1:3] for found in names.index.find(["Rome, Paris, Leeds"])] == [(0, 4), (6, 11), (13, 18)]
        assert len(aliases.names("de")) == 0


def test_surrogates_and_escapes_beyond_unicode_are_a_character_or_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "graph.nt"
    path.write_text(r"<http://e/a> <http://e/r> <http://e/\uD83D\uDE00> ." + "\n")
    assert next(iter(open_graph(path))).tail == "http://e/\U0001f600"
    for escape in (r"\uD83D", r"\uDE00", r"\U00110000", r"\UFFFFFFFF", r"\uDE00\uD83D"):
        for object_ in (f"<http://e/{escape}>", f'"{escape}"@en'):
            path.write_text(f"<http://e/a> <http://e/r> <http://e/b> .\n<http://e/a> <http://e/r> {object_} .\n")
            with pytest.raises(UserError, match=r"graph.nt, line 2 is no N-Triples statement"):
                open_graph(path)


def wikidata5m(folder: Path, *settings: str, ending: str = ".txt") -> Path:
    folder.mkdir(exist_ok=True)
    for setting in settings:
        for part, first in (("train", 0), ("valid", 10 * (setting == "inductive")), ("test", 0)):
            rows = "".join(f"Q{first + n}\tP1\tQ{first + n + 1}\n" for n in range(4))
            (folder / f"wikidata5m_{setting}_{part}{ending}").write_text(rows)
    return folder


def test_the_published_parts_of_either_setting_of_wikidata5m_are_used(tmp_path: Path) -> None:
    inductive = open_splits(wikidata5m(tmp_path / "i", "inductive"))
    assert (len(inductive.train), len(inductive.valid), len(inductive.test)) == (4, 0, 4)
    assert inductive.dropped == {"valid": 4}  # of entities that train does not have
    assert len(open_splits(wikidata5m(tmp_path / "t", "transductive", ending=".tsv")).valid) == 4
    both = wikidata5m(tmp_path / "b", "transductive", "inductive")
    for read in (open_splits, open_graph):
        with pytest.raises(
            UserError, match="holds the transductive and the inductive setting of Wikidata5M, whose parts"
        ):
            read(both)


@pytest.mark.parametrize("ending", [".txt", ".txt.gz", ".tsv", ".tsv.bz2"])
def test_the_words_of_wikidata5m_are_found_packed_and_under_either_ending(tmp_path: Path, ending: str) -> None:
    pack = {".gz": gzip.compress, "bz2": bz2.compress}.get(ending[-3:], bytes)
    wikidata5m(tmp_path, "transductive")
    rows = "Q1\tuniverse\t\tcosmos\t\nQ2\tEarth\tBlue Planet\nQ3\t\n"
    (tmp_path / f"wikidata5m_entity{ending}").write_bytes(pack(rows.encode()))
    (tmp_path / f"wikidata5m_text{ending}").write_bytes(pack(b"Q1\tall\tthere is\n"))
    graph = open_graph(tmp_path)
    assert graph.aliases("Q1", "en") == ("universe", "cosmos")
    assert graph.aliases("Q2", "en") == ("Earth", "Blue Planet")
    assert graph.aliases("Q3", "en") == () and graph.description("Q1", "en") == "all\tthere is"


def test_what_stands_twice_is_refused(tmp_path: Path) -> None:
    wikidata5m(tmp_path, "transductive")
    text = tmp_path / "wikidata5m_text.txt"
    text.write_text("Q1\tall\nQ1\tall\nQ1\tother\n")
    with pytest.raises(UserError, match=r"wikidata5m_text.txt, line 3 describes Q1 again and otherwise"):
        open_graph(tmp_path)
    text.unlink()
    (tmp_path / "wikidata5m_entity.txt").write_text("Q1\ta\nQ1\tb\n")
    with pytest.raises(UserError, match=r"line 2: the entity Q1 is there twice, first at .*line 1"):
        open_graph(tmp_path)
    (tmp_path / "wikidata5m_entity.txt").write_text("Q1\ta\n")
    (tmp_path / "wikidata5m_entity.txt.gz").write_bytes(gzip.compress(b"Q1\ta\n", mtime=0))
    assert open_graph(tmp_path).aliases("Q1", "en") == ("a",)  # unpacked beside the packed one
    (tmp_path / "wikidata5m_entity.tsv").write_text("Q1\tb\n")
    with pytest.raises(
        UserError, match=r"holds wikidata5m_entity.txt and wikidata5m_entity.tsv, which are the same part"
    ):
        open_graph(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("train.tsv", "valid.tsv", "dev.txt"):
        (other / name).write_text("a\tr\tb\n")
    with pytest.raises(UserError, match=r"holds valid.tsv and dev.txt, which are the same part; keep one of them"):
        open_splits(other)


def test_nodes_without_an_edge_survive_the_round_trip_through_networkx() -> None:
    graph = KnowledgeGraph([("a", "r", "b")], entities=["alone"])
    assert from_networkx(to_networkx(graph)).entities == graph.entities == ("a", "b", "alone")
    bare = nx.DiGraph()
    bare.add_node(7)
    bare.add_edge("a", "b", relation="r")
    assert set(from_networkx(bare).entities) == {"a", "b", "7"}
    bare.add_node("7")
    with pytest.raises(UserError, match=r"the nodes 7 and '7' have the same name; rename one of them"):
        from_networkx(bare)


def openke(folder: Path, **changed: str) -> Path:
    files = {"entity2id": "3\na\t0\nb\t1\nc\t2\n", "relation2id": "1\nr\t0\n", "train2id": "2\n0 1 0\n1 2 0\n"}
    for name, text in (files | {"valid2id": "1\n0 2 0\n", "test2id": "1\n2 0 0\n"} | changed).items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("train2id", "5\n0 1 0\n1 2 0\n", "5 triples, but it holds 2; it was cut short, fetch it again"),
        ("valid2id", "0\n0 2 0\n", "0 triples, but it holds 1; correct the count"),
        ("test2id", "2\n", "2 triples, but it holds 0; it was cut short"),
        ("entity2id", "4\na\t0\nb\t1\nc\t2\n", "4 names, but it holds 3; it was cut short"),
        ("relation2id", "2\nr\t0\n", "2 names, but it holds 1; it was cut short"),
        (
            "entity2id",
            "3\na\t0\nb\t1\nc\t1\n",
            "entity2id.txt gives the number 1 to b and to c .line 4.; it belongs to one",
        ),
        (
            "entity2id",
            "3\na\t0\nb\t1\na\t2\n",
            "entity2id.txt, line 4 gives a the number 2, but a line before gives it 0",
        ),
        ("entity2id", "3\na\t0\nb\t1\nc\t²\n", "entity2id.txt, line 4: a name and its number"),
        ("entity2id", f"3\na\t0\nb\t1\nc\t{'9' * 5000}\n", "entity2id.txt, line 4: a name and its number"),
    ],
)
def test_counts_of_openke_are_compared(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    assert len(open_splits(openke(tmp_path)).test) == 1
    with pytest.raises(UserError, match=sentence):
        open_splits(openke(tmp_path, **{name: text}))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ConnectionError("HTTPSConnectionPool(host): Max retries\nmore"),
            r"cannot be reached \(HTTPSConnectionPool\(host",
        ),
        (TimeoutError("timed out"), r"pykeen fetches nations from the network, which cannot be reached \(timed out\)"),
        (
            ModuleNotFoundError("No module named 'ogb'", name="ogb"),
            r"pykeen reads nations with ogb, which is not installed",
        ),
    ],
)
def test_every_way_in_which_pykeen_cannot_have_a_data_set_is_one_sentence(monkeypatch, error, sentence) -> None:
    def fetched(*, dataset: str) -> None:
        raise error

    monkeypatch.setattr("pykeen.datasets.get_dataset", fetched)
    with pytest.raises(UserError, match=sentence) as raised:
        pykeen_data("nations")
    assert "\n" not in str(raised.value)


def test_pystow_and_requests_say_so_by_errors_that_are_caught() -> None:
    from pystow.utils import DownloadError
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import HTTPError

    assert issubclass(DownloadError, OSError) and issubclass(NoConnection, OSError) and issubclass(HTTPError, OSError)


def test_many_labels_of_one_name_are_all_read_once(tmp_path: Path) -> None:
    rows = [f'<http://e/a> {LABEL} "name {n}"@en .' for n in range(30_000)]
    (tmp_path / "many.nt").write_text("\n".join(["<http://e/a> <http://e/r> <http://e/b> .", *rows, rows[0]]) + "\n")
    labels = open_graph(tmp_path / "many.nt").aliases("http://e/a", "en")
    assert labels == tuple(f"name {n}" for n in range(30_000))  # once each, in order
