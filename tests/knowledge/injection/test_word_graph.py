import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.word_graph import WordGraph, graph_of, read_graphs, renumbered, tokens_of_graphs

#: "<s> Paris is old </s>": Paris is an entity, with a fact whose tail is not mentioned.
GRAPH = WordGraph(
    words=(0, 7, 8, 2),
    entities=("Q90", "Q142"),
    relations=("P17",),
    positions=(0, 2, 3, 4, 1, 3, 2),
    mentioned=(True, False),
    ties=((0, 1),),
)
PLAIN = WordGraph((0, 5, 2), ("Q90",), (), (0, 1, 3, 2), (True,), ())
ENTITIES = {"<unk>": 0, "<pad>": 1, "<mask>": 2, "Q90": 3, "Q142": 4}
RELATIONS = {"<unk>": 0, "<pad>": 1, "<mask>": 2, "P17": 3}


def record(**changed: Any) -> dict[str, Any]:
    return GRAPH.record() | changed


def test_words_and_mentioned_entities_see_each_other_and_facts_only_their_ends() -> None:
    adjacency = torch.tensor(GRAPH.adjacency())
    assert adjacency[:5, :5].all() and not adjacency[:4, 5:].any()
    assert adjacency[4:, 4:].tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("graph", [GRAPH, PLAIN])
def test_a_graph_comes_back_from_its_record(graph: WordGraph, tmp_path: Path) -> None:
    file = tmp_path / "graphs.jsonl"
    file.write_text(json.dumps(graph.record()) + "\n", encoding="utf-8")
    assert list(read_graphs(file)) == [graph]


def test_without_an_adjacency_everything_is_text() -> None:
    told = PLAIN.record()
    del told["adj"], told["n_word_nodes"]
    assert graph_of(told, "line 1") == PLAIN


def test_a_batch_of_graphs_sees_what_each_sees_alone() -> None:
    tokens = tokens_of_graphs([GRAPH, PLAIN], ENTITIES, RELATIONS)
    assert tokens.ids.tolist() == [0, 7, 8, 2, 3, 4, 3, 0, 5, 2, 3]
    assert tokens.segments.tolist() == [0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1]
    assert tokens.positions.tolist() == [*GRAPH.positions, *PLAIN.positions]
    assert tokens.attention_mask is not None
    for graph, rows in zip((GRAPH, PLAIN), torch.arange(11).split([7, 4]), strict=True):
        assert tokens.attention_mask.mask_mod(rows[:, None], rows[None, :]).long().tolist() == graph.adjacency()


def test_who_sees_whom_is_a_few_bytes_a_node() -> None:
    tokens = tokens_of_graphs([GRAPH] * 50, ENTITIES, RELATIONS)
    assert tokens.attention_mask is not None
    assert sum(part.numel() for part in vars(tokens.attention_mask).values()) == 4 * tokens.rows


def test_graphs_without_facts_need_no_visibility() -> None:
    assert tokens_of_graphs([PLAIN, PLAIN], ENTITIES, RELATIONS).attention_mask is None


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"nodes": []}, "line 4 has no soft_position; a word-knowledge graph has nodes, soft_position, token_type_ids"),
        (record(soft_position=[0]), "line 4 has 7 nodes but 1 soft positions"),
        (record(token_type_ids=[0]), "line 4 has 7 nodes but 1 kinds"),
        (record(adj=[]), "line 4 has 7 nodes but 0 rows of adjacency"),
        (record(token_type_ids=[0, 0, 0, 0, 1, 2, 1]), r"line 4 should have words \(0\), then entities \(1\), then"),
        (record(adj=[[1] * 7] * 6 + [[0] * 7]), "line 4 has a relation that is not tied to a head and a tail"),
        (record(adj=[[1] * 7] * 7), "line 4 has an adjacency that is not that of a text with its entities and their"),
    ],
)
def test_other_records_are_refused_by_line(told: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        graph_of(told, "line 4")


def test_a_relation_without_an_adjacency_is_refused() -> None:
    told = GRAPH.record()
    del told["adj"]
    with pytest.raises(UserError, match="line 1 has a relation that is not tied"):
        graph_of(told, "line 1")


def test_files_that_hold_no_graphs_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "graphs.jsonl"
    with pytest.raises(UserError, match="but there is no such file"):
        next(read_graphs(file))
    file.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="line 1, column 2: no valid JSON"):
        next(read_graphs(file))


@pytest.mark.parametrize(
    ("entities", "relations", "lost"), [({}, RELATIONS, "entity Q90"), (ENTITIES, {}, "relation P17")]
)
def test_names_without_a_number_are_refused(entities: dict[str, int], relations: dict[str, int], lost: str) -> None:
    with pytest.raises(UserError, match=f"^the {lost} has no number among the 0 that are known$"):
        tokens_of_graphs([GRAPH], entities, relations)


def test_names_without_a_vector_start_as_the_unknown_one() -> None:
    numbers, rows = renumbered(["Q142", "Q7"], ENTITIES)
    assert numbers == {"<unk>": 0, "<pad>": 1, "<mask>": 2, "Q142": 3, "Q7": 4} and rows.tolist() == [0, 1, 2, 4, 0]
