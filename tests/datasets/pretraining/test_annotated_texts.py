"""Texts with marked mentions, dependency trees, word-knowledge graphs and linked entities as data of pretraining."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_kptm.data.formats.conllu import ParsedSentence
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.dependency_trees import parsed
from mm_kptm.datasets.pretraining.documents import Documents
from mm_kptm.datasets.pretraining.knowledge_beside import KnowledgeFiles
from mm_kptm.datasets.pretraining.marked_relations import MarkedRelations
from mm_kptm.datasets.pretraining.word_graphs import WordGraphs
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment

WORDS = ["anna", "was", "born", "in", "rome", "##s", ".", "@", "#", "saw", "paris"]
IDS = {word: len(BERT_SPECIALS) + place for place, word in enumerate(WORDS)}
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 8, "max_positions": 24}
ADAPTERS = {"adapter_dim": 6, "adapter_heads": 2, "adapter_ffn_dim": 10}
ENTITIES = {"entity_heads": 2}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    return tmp_path / "vocab.txt"


def lines(folder: Path, name: str, *records: Any) -> Path:
    (folder / name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return folder / name


def built(data: Any, recipe: str, *objectives: str, **sizes: int) -> Built:
    encoder = EncoderSettings(recipe, {**SIZES, **sizes})
    return build(Experiment("own", encoder, data, objectives=dict.fromkeys(objectives, 1.0)))


def test_the_states_at_the_marks_of_both_mentions_say_the_relation(vocabulary: Path, tmp_path: Path) -> None:
    born = {"text": "Anna was born in Rome.", "head": [0, 4], "tail": [17, 21], "relation": "born"}
    saw = {"text": "Paris Anna saw", "head": [6, 10], "tail": [0, 5], "relation": "saw"}
    silent = {"text": "Anna Rome", "head": [0, 4], "tail": [5, 9]}
    data = MarkedRelations(
        name="marked-relations", vocabulary=vocabulary, train=lines(tmp_path, "train.jsonl", born, saw, silent)
    )
    made = built(data, "k-adapter-factual", "marked-relation", **ADAPTERS)
    batch = made.training.batch([0, 1], seeded(0)).by_name["marked-relation"]
    text = batch.inputs.text
    assert len(made.training) == 2, "a text that does not say its relation teaches none"
    assert text.ids[batch.marks].tolist() == [[IDS["@"], IDS["#"]]] * 2
    assert text.ids[batch.marks + 1].tolist() == [[IDS["anna"], IDS["rome"]], [IDS["anna"], IDS["paris"]]]
    assert batch.truth.tolist() == [0, 1]
    assert made.system.head("marked-relation").out.out_features == 2
    lines(tmp_path, "train.jsonl", born)
    with pytest.raises(UserError, match=r"train.jsonl names 1 relations; there must be at least two$"):
        built(data, "k-adapter-factual", "marked-relation", **ADAPTERS)


def test_every_word_knows_where_the_one_that_governs_it_begins(vocabulary: Path) -> None:
    tokenizer = open_tokenizer(vocabulary, lowercase=True, ideographs=True)
    sentence = ParsedSentence(("Anna", "saw", "Romes", "Paris"), (2, 0, 4, 2))
    text = parsed([sentence], tokenizer, 16).batch([0], seeded(0)).text
    assert text.ids.tolist() == [2, IDS["anna"], IDS["saw"], IDS["rome"], IDS["##s"], IDS["paris"], 3]
    assert text.token_labels["dependency-heads"].tolist() == [-1, 2, 0, 5, -1, 2, -1]
    cut = parsed([sentence], tokenizer, 6).batch([0], seeded(0)).text
    assert cut.token_labels["dependency-heads"].tolist() == [-1, 2, 0, -1, -1, -1], "Paris was cut off"


def test_graphs_are_numbered_as_training_meets_them(vocabulary: Path, tmp_path: Path) -> None:
    graph = {"nodes": [2, 9, 3, "Q1"], "soft_position": [0, 1, 2, 3], "token_type_ids": [0, 0, 0, 1]}
    other = {**graph, "nodes": [2, 8, 3, "Q7"]}
    train = lines(tmp_path, "train.jsonl", graph, graph, {**graph, "nodes": [2, 9, 3, "Q2"]})
    dev = lines(tmp_path, "dev.jsonl", other)
    data = WordGraphs(name="word-graphs", vocabulary=vocabulary, train=train, dev=dev)
    made = built(data, "colake-base", "masked-nodes")
    objective = made.model.objectives["masked-nodes"]
    assert objective.weights.tolist()[:3] == [0.0] * 3 and len(objective.weights) == 5
    assert objective.weights[3] > objective.weights[4], "Q1 stands twice"
    batch = made.source("dev").batch([0], seeded(0)).by_name["masked-nodes"]
    assert not len(batch.entities.rows), "an entity that training never saw is the unknown one, which is not sought"
    assert made.system.encoder.embed.text.entity.num_embeddings == 5


def test_linked_entities_stand_at_the_first_piece_of_their_mention(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("anna saw rome\nanna saw paris\n")
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "entity2id.txt").write_text("1\nQ220\t0\n")
    (tmp_path / "vectors" / "entity2vec.vec").write_text("1\t2\t3\t4\n")
    mentions = [
        {"start": 5, "end": 10, "surface": "Romes", "candidates": [{"entity": "Q220", "score": 1.0}], "entity": "Q220"},
        {"start": 11, "end": 16, "surface": "paris", "candidates": [{"entity": "Q90", "score": 1.0}], "entity": "Q90"},
    ]
    linked = lines(tmp_path, "linked.jsonl", {"id": "1", "text": "anna Romes paris", "mentions": mentions})
    files = KnowledgeFiles(linked=linked, entities=tmp_path / "vectors")
    data = Documents(name="documents", vocabulary=vocabulary, train=tmp_path / "train.txt", knowledge=files)
    made = built(data, "ernie-thu-base", "entity-denoising", **ENTITIES)
    inputs = made.training.inputs["entity-denoising"].batch([0], seeded(0))
    assert inputs.text.ids.tolist()[2:4] == [IDS["rome"], IDS["##s"]]
    assert inputs.entities.ids.tolist() == [-1, -1, 0, -1, -1, -1], "Q90 has no vector"
    assert torch.equal(inputs.entities.vectors[2], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert {"knowledge.linked", "knowledge.entities.entity2vec.vec"} <= data.fingerprints.keys()
    stored = built(replace(data, token_store=tmp_path / "store"), "ernie-thu-base", "entity-denoising", **ENTITIES)
    mapped = stored.training.inputs["entity-denoising"].batch([0], seeded(0))
    assert str(mapped) == str(inputs) and (tmp_path / "store" / "knowledge" / "train-linked" / "ids.npy").is_file()
    lines(tmp_path, "linked.jsonl", {"id": "1", "text": "anna Romes paris", "mentions": mentions[1:]})
    with pytest.raises(UserError, match=r"^no entity that .*linked.jsonl links has a vector in .*vectors; take those"):
        built(data, "ernie-thu-base", "entity-denoising", **ENTITIES).source("train")


def test_knowledge_files_that_belong_together_are_named_together(tmp_path: Path) -> None:
    message = r"^data.knowledge.triples and data.knowledge.descriptions are read together; name both or none$"
    with pytest.raises(UserError, match=message):
        KnowledgeFiles(triples=tmp_path / "graph.tsv")


def test_triples_between_entities_without_a_text_teach_nothing(vocabulary: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("anna saw rome\n")
    (tmp_path / "graph.tsv").write_text("Rome\tin\tItaly\n")
    (tmp_path / "texts.tsv").write_text("Rome\tanna was born in rome\n")
    files = KnowledgeFiles(triples=tmp_path / "graph.tsv", descriptions=tmp_path / "texts.tsv")
    data = Documents(name="documents", vocabulary=vocabulary, train=tmp_path / "train.txt", knowledge=files)
    with pytest.raises(
        UserError, match=r"^no triple of .*graph.tsv is between two entities that .*texts.tsv describes"
    ):
        built(data, "kepler-base", "knowledge-embedding")
