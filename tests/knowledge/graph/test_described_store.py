"""A described graph on disk is the one in memory, whatever its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import described_store
from mm_kptm.knowledge.graph.described_store import StoredGraph, stored_graph
from mm_kptm.knowledge.graph.triples import read_triples
from mm_kptm.knowledge.graph.wikidata5m import Numbering, read_descriptions
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph
from tests.arrow_folders import save

TOKENIZER = WordPiece([*BERT_SPECIALS, "a", "town", "river", "of"], lowercase=True)
DESCRIPTIONS = "Q1\ta town\nQ2\t\nQ5\tA river of a town\n"
TRIPLES = "Q5\tP9\tQ7\nQ5\tP2\tQ1\nQ1\tP1\tQ2\n\nQ5\tP2\t Q2\nQ8\tP3\tQ1\nQ2\tP1\tQ5\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "triples.tsv").write_text(TRIPLES)
    (tmp_path / "texts.tsv").write_text(DESCRIPTIONS)
    return tmp_path / "triples.tsv", tmp_path / "texts.tsv"


def build(files: tuple[Path, Path], **source: object) -> StoredGraph:
    return stored_graph(files[0].parent / "store", *files, TOKENIZER, source=source)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_numbers_and_texts_are_those_in_memory(files, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described_store, "BLOCK", block)
    described = read_descriptions(files[1])
    numbering = Numbering(described.numbers)
    expected = numbering(read_triples(files[0]))
    found = build(files)
    assert [*found.triples] == expected and found.left_out == numbering.left_out == 2
    assert found.triples[1] == expected[1] and [*found.triples[1:3]] == expected[1:3]
    assert isinstance(found.triples.rows, np.memmap) and isinstance(found.texts.columns["ids"], np.memmap)
    in_memory = DescribedGraph(expected, [TOKENIZER.encode(text).ids for text in described.texts], TOKENIZER.specials)
    on_disk = DescribedGraph(found.triples, found.texts, TOKENIZER.specials)
    assert [on_disk.length(n) for n in range(4)] == [in_memory.length(n) for n in range(4)] == [11, 6, 9, 9]
    assert on_disk.lengths.tolist() == [11, 6, 9, 9]
    one, other = (graph.entities([2, 1, 0]).text.ids.tolist() for graph in (in_memory, on_disk))
    assert one == other and on_disk.num_relations == 2


def test_it_is_built_once_and_of_these_files(files) -> None:
    build(files, texts="1")
    files[0].write_text("nothing that could be read")
    assert len(build(files, texts="1").triples) == 4
    with pytest.raises(UserError, match="was built from other files, with another tokenizer or with other settings"):
        build(files, texts="2")


def test_mistakes_are_named_by_file_and_line(files) -> None:
    files[1].write_text(DESCRIPTIONS + "Q1\tagain\n")
    with pytest.raises(UserError, match=r"texts.tsv, line 4 describes Q1 again; give every entity one description"):
        build(files)
    assert not (files[0].parent / "store" / "triples").exists()
    files[1].write_text(DESCRIPTIONS + "Q9\n")
    with pytest.raises(UserError, match=r"texts.tsv, line 4 should be a name, a tab and a text, not 'Q9'"):
        stored_graph(files[0].parent / "other", *files, TOKENIZER, source={})


def test_folders_of_datasets_hold_the_same_graph(files, tmp_path: Path) -> None:
    heads, relations, tails = zip(*read_triples(files[0]), strict=True)
    triples = save(tmp_path / "claims", {"head": heads, "relation": relations, "tail": tails}, files=2)
    names, texts = ("Q1", "Q2", "Q5"), ("a town", None, "A river of a town")
    descriptions = save(tmp_path / "texts", {"entity": names, "text": texts})
    found = stored_graph(tmp_path / "other", triples, descriptions, TOKENIZER, source={})
    assert [*found.triples] == [*build(files).triples] and found.left_out == 2
    assert found.texts.columns["ids"].tolist() == build(files).texts.columns["ids"].tolist()
    assert read_descriptions(descriptions) == read_descriptions(files[1])
    with pytest.raises(UserError, match=r"none, row 2 has no tail; a triple is head, relation and tail$"):
        list(read_triples(save(tmp_path / "none", {"head": "ab", "relation": "cd", "tail": ["e", " "]})))
    with pytest.raises(UserError, match=r"nameless, row 1 has no entity, but a text: 'a town'$"):
        read_descriptions(save(tmp_path / "nameless", {"entity": [""], "text": ["a town"]}))
