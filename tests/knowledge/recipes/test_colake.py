"""CoLAKE: one encoder over words, entities and relations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.node_embedding import start_from
from mm_kptm.knowledge.injection.word_graph import WordGraph, tokens_of_graphs
from mm_kptm.nn.visibility import Matrix
from mm_kptm.systems.system import System

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}
HEADS = {"masked-relations": {}, "relation": {"num_classes": 3}, "entity-typing": {"num_classes": 4}}
NAMES = {f"Q{number}": number for number in range(12)} | {f"P{number}": number for number in range(5)}
GRAPH = WordGraph(
    (0, 7, 8, 2), ("Q3", "Q4"), ("P3",), positions=(0, 2, 3, 4, 1, 3, 2), mentioned=(True, False), ties=((0, 1),)
)
PLAIN = WordGraph((0, 5, 2), ("Q3",), (), (0, 1, 3, 2), (True,), ())


@pytest.fixture(scope="module")
def system() -> System:
    return mm_kptm.build("colake", seed=0, heads=HEADS, num_entities=12, num_relations=5, **SIZES)


def text(*graphs: WordGraph) -> Tokens:
    return tokens_of_graphs(graphs, NAMES, NAMES)


def test_links_and_the_matrix_that_they_stand_for_give_the_same_states(system: System) -> None:
    linked = text(GRAPH, PLAIN)
    dense = Matrix.of([torch.tensor(graph.adjacency()).bool() for graph in (GRAPH, PLAIN)])
    first, second = (system(Inputs(text=one)).text for one in (linked, replace(linked, attention_mask=dense)))
    torch.testing.assert_close(first, second)


def test_a_graph_beside_another_changes_nothing(system: System) -> None:
    alone, beside = (system(Inputs(text=text(*graphs))).text[:7] for graphs in ((GRAPH,), (GRAPH, PLAIN)))
    torch.testing.assert_close(alone, beside)


def test_a_text_without_entities_is_read_as_by_roberta(system: System) -> None:
    """With the same weights, RoBERTa's positions moved to 0 and a segment table of one row."""
    ours = dict(system.encoder.named_parameters())
    roberta = mm_kptm.build("roberta-base", heads=[], num_segments=3, position_offset=0, **SIZES)
    left = set(ours) - {name for name, _ in roberta.encoder.named_parameters()}
    assert left == {"embed.text.entity.weight", "embed.text.relation.weight"}
    roberta.encoder.load_state_dict({name: tensor for name, tensor in ours.items() if name not in left})
    words = Inputs(text=Tokens.of([[0, 9, 4, 2], [0, 2]]))
    torch.testing.assert_close(system(words).text, roberta(words).text)


def test_what_a_tail_holds_reaches_the_text_through_its_relation_only(system: System) -> None:
    """One layer carries it to the relation, two to the head, and only what follows to the words."""
    depths = []
    for tail in ("Q4", "Q9"):
        graph = replace(GRAPH, entities=("Q3", tail))
        depths.append([state.x for state in system.hidden_states(Inputs(text=text(graph)))])
    changed = [(one != other).any(1).nonzero().squeeze(1).tolist() for one, other in zip(*depths, strict=True)]
    assert changed == [[5], [5, 6], [4, 5, 6]]


def test_vectors_given_in_place_of_the_tables_are_taken(system: System) -> None:
    tokens, nodes = text(GRAPH), system.encoder.embed.text
    words, entities, relations = (table.weight for table in (nodes.word, nodes.entity, nodes.relation))
    vectors = torch.cat([words[[0, 7, 8, 2]], entities[[3, 4]], relations[[3]]])
    torch.testing.assert_close(nodes(replace(tokens, vectors=vectors)), nodes(tokens))


def test_heads_begin_as_those_of_the_pretraining(system: System) -> None:
    classes, pretrained = system.head("relation"), system.head("masked-relations")
    start_from(classes, pretrained, torch.tensor([4, 0, 2]))
    assert torch.equal(classes.dense.weight, pretrained.transform.dense.weight)
    assert torch.equal(classes.norm.bias, pretrained.transform.norm.bias)
    assert torch.equal(classes.out.weight, system.encoder.embed.text.relation.weight[[4, 0, 2]])
    before = system.head("entity-typing").out.weight.clone()
    start_from(system.head("entity-typing"), pretrained)
    assert torch.equal(system.head("entity-typing").out.weight, before)


def published(system: System) -> dict[str, torch.Tensor]:
    """A file of the release, as far as it takes to load the encoder: the entities are no part of it."""
    golden = {"embed.text.relation.weight": "rel_embeddings.weight"}
    renamed = [
        ("embed.text.word.", "roberta.embeddings.word_embeddings."),
        ("embed.text.position.", "roberta.embeddings.position_embeddings."),
        ("embed.text.segment.", "roberta.embeddings.token_type_embeddings."),
        ("embed.text.norm.", "roberta.embeddings.LayerNorm."),
        ("self_attention.attention.out_proj.", "attention.output.dense."),
        ("self_attention.attention.", "attention.self."),
        ("self_attention.norm.", "attention.output.LayerNorm."),
        ("ffn.up_proj.", "intermediate.dense."),
        ("ffn.down_proj.", "output.dense."),
        ("ffn.norm.", "output.LayerNorm."),
        ("layers.", "roberta.encoder.layer."),
    ]
    tensors = {}
    for name, parameter in system.encoder.named_parameters():
        theirs = golden.get(name, name)
        for ours, published_as in renamed:
            theirs = theirs.replace(ours, published_as)
        tensors[theirs] = parameter.detach()
    del tensors["embed.text.entity.weight"]
    return tensors


def test_entities_come_from_a_file_of_their_own(system: System, tmp_path: Path) -> None:
    save_file(published(system), tmp_path / "model.safetensors")
    table = system.encoder.embed.text.entity.weight.detach()
    np.save(tmp_path / "entities.npy", table.numpy())
    sizes = {size: SIZES[size] for size in ("dim", "num_heads", "num_layers", "ffn_dim")}
    files = {"": tmp_path / "model.safetensors", "entities": tmp_path / "entities.npy"}
    back = mm_kptm.load("colake", files, **sizes)
    assert torch.equal(back.encoder.embed.text.entity.weight, table)
    graph = Inputs(text=text(GRAPH))
    assert torch.equal(back(graph).text, system(graph).text)
    with pytest.raises(UserError, match=r"nothing fills our parameters: encoder\.embed\.text\.entity\.weight"):
        mm_kptm.load("colake", tmp_path / "model.safetensors", **sizes)
