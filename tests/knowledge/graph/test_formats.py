import gzip
import sys
from pathlib import Path
from urllib.error import URLError

import networkx as nx
import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.formats import from_networkx, open_graph, read_conceptnet, to_networkx
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.graph.wordnet import FILES

NTRIPLES = r"""# towns
<http://x/rome> <http://x/in> <http://x/it\u0061ly> .
_:b0 <http://x/near> <http://x/rome> . # behind
<http://x/rome> <http://www.w3.org/2000/01/rdf-schema#label> "Rom"@de .
<http://x/rome> <http://www.w3.org/2004/02/skos/core#altLabel> "die \"ewige\" Stadt"@de .
<http://x/rome> <http://schema.org/description> "a town\twith hills"@en .
<http://x/rome> <http://x/people> "3"^^<http://www.w3.org/2001/XMLSchema#integer> .
"""
ASSERTION = "/a/x\t/r/IsA\t/c/en/small_dog/n\t/c/en/animal\t{}\n"
NOUNS = """  1 This is a licence.
00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which is
00001930 03 n 02 physical_entity 0 thing 0 001 @ 00001740 n 0000 | exists; "it is"
00002000 03 n 01 lonely 0 000 | alone
"""


def wordnet(folder: Path, nouns: str = NOUNS) -> Path:
    for name in FILES:
        (folder / f"data.{name}").write_text(nouns if name == "noun" else "")
    return folder


def test_n_triples_become_names_and_words(tmp_path: Path) -> None:
    (tmp_path / "towns.nt").write_text(NTRIPLES)
    graph = open_graph(tmp_path / "towns.nt")
    rome = "http://x/rome"
    assert list(graph) == [Triple(rome, "http://x/in", "http://x/italy"), Triple("_:b0", "http://x/near", rome)]
    assert graph.aliases(rome, "de") == ("Rom", 'die "ewige" Stadt')
    assert graph.description(rome, "en") == "a town\twith hills"
    assert graph.words.languages == ("de", "en")
    with pytest.raises(UserError, match="the graph has no aliases in 'fr'; it has de"):
        graph.aliases(rome, "fr")
    with pytest.raises(UserError, match="the graph has no descriptions in 'en'; it has none at all"):
        KnowledgeGraph(graph).description(rome, "en")


@pytest.mark.parametrize("line", ["<a> <b> <c>", "<a> <b> .", '"a" <b> <c> .', "<a> <b> <c> . <d>"])
def test_a_line_that_is_no_statement_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.nt"
    file.write_text(f"<a> <b> <c> .\n{line}\n")
    with pytest.raises(UserError, match=r"bad\.nt, line 2 is no N-Triples statement"):
        open_graph(file)


def test_conceptnet_is_read_packed_and_by_language(tmp_path: Path) -> None:
    german = "/a/y\t/r/Synonym\t/c/de/hund\t/c/en/dog\t{}\n"
    elsewhere = "/a/z\t/r/ExternalURL\t/c/en/dog\thttp://dbpedia.org/x\t{}\n"
    file = tmp_path / "assertions.csv.gz"
    file.write_bytes(gzip.compress((ASSERTION + german + elsewhere).encode()))
    assert len(open_graph(file)) == 2
    english = read_conceptnet(file, language="en")
    assert list(english) == [Triple("/c/en/small_dog", "IsA", "/c/en/animal")]
    assert english.aliases("/c/en/small_dog", "en") == ("small dog",)
    with pytest.raises(UserError, match="has no assertion between words of 'zh'; languages are codes such as en or zh"):
        read_conceptnet(file, language="zh")


def test_broken_conceptnet_is_named(tmp_path: Path) -> None:
    file = tmp_path / "assertions.csv"
    file.write_text(ASSERTION + "dog,is,animal\n")
    with pytest.raises(UserError, match=r"assertions\.csv, line 2 is no assertion of ConceptNet.*'dog,is,animal'"):
        open_graph(file)
    packed = tmp_path / "assertions.csv.gz"
    packed.write_bytes(gzip.compress(ASSERTION.encode() * 999)[:-9])
    with pytest.raises(UserError, match=r"assertions\.csv\.gz breaks off after line \d+; fetch it again"):
        open_graph(packed)


def test_wordnet_keeps_synsets_without_pointers(tmp_path: Path) -> None:
    graph = open_graph(wordnet(tmp_path))
    assert list(graph) == [
        Triple("00001740-n", "hyponym", "00001930-n"),
        Triple("00001930-n", "hypernym", "00001740-n"),
    ]
    assert graph.entities == ("00001740-n", "00001930-n", "00002000-n")
    assert graph.aliases("00001930-n", "en") == ("physical entity", "thing")
    assert graph.description("00001930-n", "en") == 'exists; "it is"'
    assert graph.about("00002000-n") == ()


@pytest.mark.parametrize("line", ["dog", "00001740 03 n 01 e 0 001 ~ 0", "00001740 03 n 01 e 0 001 ? 1 n 0 | x"])
def test_a_line_that_is_no_synset_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"data\.noun, line 5 is no synset of WordNet"):
        open_graph(wordnet(tmp_path, NOUNS + line + "\n"))


def test_half_a_wordnet_is_named(tmp_path: Path) -> None:
    (wordnet(tmp_path) / "data.adv").unlink()
    with pytest.raises(
        UserError, match=r"has no data\.adv; WordNet is data\.noun, data\.verb, data\.adj and data\.adv"
    ):
        open_graph(tmp_path)


def test_a_folder_of_wikidata5m_has_words_beside_triples(tmp_path: Path) -> None:
    (tmp_path / "wikidata5m_transductive_train.txt").write_text("Q1\tP1\tQ2\n")
    assert open_graph(tmp_path).words.languages == ()
    (tmp_path / "wikidata5m_entity.txt").write_text("Q1\tuniverse\tcosmos\n")
    (tmp_path / "wikidata5m_text.txt").write_text("Q1\tall there is\n")
    graph = open_graph(tmp_path)
    assert graph.aliases("Q1", "en") == ("universe", "cosmos")
    assert (graph.description("Q1", "en"), graph.description("Q2", "en")) == ("all there is", "")
    (tmp_path / "wikidata5m_text.txt").write_text("Q1\n")
    with pytest.raises(UserError, match=r"wikidata5m_text\.txt, line 1 should be a name, a tab and words, not 'Q1'"):
        open_graph(tmp_path)


def test_a_graph_goes_through_networkx_unchanged() -> None:
    graph = KnowledgeGraph([("a", "r", "b"), ("b", "s", "a"), ("a", "s", "b")])
    assert set(from_networkx(to_networkx(graph))) == set(graph)
    both = nx.Graph([("a", "b", {"relation": "r"})])
    assert set(from_networkx(both)) == {("a", "r", "b"), ("b", "r", "a")}
    with pytest.raises(UserError, match="the edge from 'a' to 'b' has no attribute 'kind', its relation"):
        from_networkx(both, relation="kind")


def test_data_sets_of_pykeen_are_graphs() -> None:
    graph = open_graph("pykeen:nations")
    assert (len(graph), len(graph.entities), len(graph.relations)) == (1592, 14, 55)
    with pytest.raises(UserError, match=r"pykeen has no data set 'natoins'; did you mean nations\?"):
        open_graph("pykeen:natoins")


def test_what_is_no_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of WordNet"):
        open_graph(tmp_path)
    with pytest.raises(UserError, match=r"there is no graph .*none\.tsv; name a file of triples, a folder, or pykeen:"):
        open_graph(tmp_path / "none.tsv")
    (tmp_path / "empty.tsv").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.tsv holds no triple; a graph has one at least"):
        open_graph(tmp_path / "empty.tsv")


def test_neighbours_are_found_by_name() -> None:
    graph = KnowledgeGraph([("b", "r", "c"), ("a", "r", "b"), ("a", "s", "c")])
    assert graph.around("a", 1) == (("a", "r", "b"), ("a", "s", "c"))
    assert graph.around("a", 2) == (("a", "r", "b"), ("a", "s", "c"), ("b", "r", "c"))
    assert graph.leading_to("c") == (("b", "r", "c"), ("a", "s", "c"))
    assert graph.numbered().tolist() == [[0, 0, 1], [2, 0, 0], [2, 1, 1]]
    with pytest.raises(UserError, match="the graph of 3 entities has none called 'd'"):
        graph.around("d")


def test_a_data_set_that_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*, dataset: str) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("pykeen.datasets.get_dataset", fetched)
    with pytest.raises(
        UserError, match=r"pykeen fetches fb15k237 from the network, which cannot be reached \(no route"
    ):
        open_graph("pykeen:fb15k237")


TURTLE = """@prefix x: <http://x/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
x:rome x:in x:italy ; rdfs:label "Rom"@de , "Roma" .
_:b0 x:near x:rome .
"""
QUADS = """<http://x/rome> <http://x/in> <http://x/italy> <http://x/graph> .
<http://x/rome> <http://www.w3.org/2000/01/rdf-schema#label> "Rom"@de <http://x/other> .
_:b0 <http://x/near> <http://x/rome> .
<http://x/rome> <http://www.w3.org/2000/01/rdf-schema#label> "Roma" .
"""


@pytest.mark.parametrize(("name", "text"), [("towns.ttl", TURTLE), ("towns.nq", QUADS)])
@pytest.mark.parametrize("packed", [False, True])
def test_turtle_and_n_quads_hold_the_same_graph(tmp_path: Path, name: str, text: str, packed: bool) -> None:
    file = tmp_path / (name + ".gz" if packed else name)
    content = b"\xef\xbb\xbf" + text.encode()
    file.write_bytes(gzip.compress(content) if packed else content)
    graph = open_graph(file)
    rome = "http://x/rome"
    assert list(graph) == [Triple(rome, "http://x/in", "http://x/italy"), Triple("_:b0", "http://x/near", rome)]
    assert (graph.aliases(rome, "de"), graph.aliases(rome, "und")) == (("Rom",), ("Roma",))


def test_turtle_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.ttl").write_text("@prefix x: <http://x/> .\nx:a x:b x:c .\nx:a y:b x:c .\n")
    with pytest.raises(UserError, match=r"bad\.ttl, line 3 is no Turtle: The prefix y: has not been declared"):
        open_graph(tmp_path / "bad.ttl")


def test_a_line_of_rdf_that_is_no_text_or_an_archive_that_breaks_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.nt").write_bytes(b'<a> <b> <c> .\n<a> <b> "caf\xe9" .\n')
    with pytest.raises(UserError, match=r"latin\.nt, line 2 is not UTF-8"):
        open_graph(tmp_path / "latin.nt")
    (tmp_path / "cut.nt.gz").write_bytes(gzip.compress(b"<a> <b> <c> .\n" * 9)[:-9])
    with pytest.raises(UserError, match=r"cut\.nt\.gz breaks off; fetch it again"):
        open_graph(tmp_path / "cut.nt.gz")


def test_rdf_without_its_extra_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyoxigraph", None)
    (tmp_path / "towns.nt").write_text(NTRIPLES)
    with pytest.raises(
        UserError, match=r"towns\.nt holds N-Triples, .* install it with `pip install 'mm-kptm\[rdf\]'`"
    ):
        open_graph(tmp_path / "towns.nt")
