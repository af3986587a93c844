"""CoLAKE against its released preprocessing, model, heads and objective."""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.data.masking.static import Treatment
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.word_graph import MASK, WordGraph, graph_of, tokens_of_graphs
from mm_kptm.knowledge.injection.word_graph_builder import GraphMaker
from mm_kptm.knowledge.objectives.masked_nodes import (
    HEADS,
    HiddenNodes,
    MaskedNodes,
    NodeTargets,
    frequencies,
    hide_nodes,
    released_masking,
)
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case


def graph(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """What the script was called with stands in the case's description; so does how it spelled and cut a text."""
    told = case.json("input.json")
    numbers = {word: 4 + number for number, word in enumerate(told["vocab_words"])}
    make = GraphMaker(
        KnowledgeGraph(Triple(*triple) for triple in told["triples"]).about,
        told["entities"],
        spelling=lambda text: [numbers.get(word, 3) for word in text.split()],
        sentences=lambda text: [f"{part} ." for part in text.split(" . ")],
        min_length=int(case.called_with("min_seq_len")),
        max_facts=int(case.called_with("max_neighbors")),
    )
    rng = random.Random(int(case.called_with("seeded with")))
    made = [one.record() for document in told["documents"] for one in make(document, rng)]
    answers = {"number": Answer(len(made))}
    truths: dict[str, Any] = {"number": len(lines(case, "graphs.jsonl"))}
    for number, (ours, theirs) in enumerate(zip(made, lines(case, "graphs.jsonl"), strict=True)):
        assert graph_of(theirs, f"line {number + 1}").record() == theirs
        answers[f"{number} fields"], truths[f"{number} fields"] = Answer(list(ours)), list(theirs)
        for name, value in theirs.items():
            answers[f"{number} {name}"], truths[f"{number} {name}"] = Answer(ours[name]), value
    return answers, truths


def pretrain(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """The model on graphs with hidden nodes; masks and negatives come from the released generators."""
    given, system = case.inputs, loaded(case)
    real = given["attention_mask"].any(1)  # no node sees padding
    words, entities = int(given["n_word_nodes"][0]), int(given["n_entity_nodes"][0])
    blocks = slice(words), slice(words, words + entities), slice(words + entities, None)
    graphs = [graph_of(record, "instances") for record in lines(case, "instances.jsonl")]
    text = tokens_of_graphs(graphs, Numbered("Q"), Numbered("P"))
    ids, stood = released_masks(
        graphs,
        vocab_size=case.config["vocab_size"],
        num_entities=len(given["entity_table"]),
        num_relations=system.encoder.embed.text.relation.num_embeddings,
    )
    inputs = Inputs(text=replace(text, ids=ids))
    encoded, depths = system(inputs), list(system.hidden_states(inputs))

    labels = [given[name] for name in LABELS]
    owners = text.layout.sequence_ids(ids.device)
    grid = torch.full(real.shape, -1).masked_scatter(real, torch.arange(len(ids)))
    sought = [
        NodeTargets(rows, label[label >= 0], owners[rows])
        for block, label in zip(blocks, labels, strict=True)
        for rows in [grid[:, block][label >= 0]]
    ]
    objective = released_objective(case, system)
    batch = HiddenNodes(inputs, *sought, candidates=given["ent_index"][0])
    losses = {name: values.mean() for name, values in objective.losses(system, batch).items()}
    scores = [
        (system.head(name)(rows, batch.candidates) if name == "masked-entities" else system.head(name)(rows))
        for name, kind in zip(HEADS, range(3), strict=True)
        for rows in [encoded.text[text.segments == kind]]
    ]
    where = [real[:, block] for block in blocks]
    answers = {
        "embedding_output": Answer(depths[0].x, real),
        **{f"hidden_states.{number}": Answer(state.x, real) for number, state in enumerate(depths[1:])},
        **{f"{name}_logits": Answer(*answer) for name, *answer in zip(KINDS, scores, where, strict=True)},
        **{f"{name}_pred": Answer(own.argmax(-1), at) for name, own, at in zip(KINDS, scores, where, strict=True)},
        **{f"{name}_loss": Answer(loss) for name, loss in zip(KINDS, losses.values(), strict=True)},
        "total_loss": Answer(objective.loss(system, batch)),
        **finetuned(case, system),
    }
    gold = torch.tensor([node for block in stood[1] for node in block.values()])
    drawn = objective.candidates(gold, torch.Generator().manual_seed(int(case.called_with("manual_seed"))))
    truths = case.outputs | {"input_ids": given["input_ids"], "ent_index": given["ent_index"][0]}
    answers |= {"input_ids": Answer(ids, real), "ent_index": Answer(drawn[: len(batch.candidates)])}
    for name, label, own, at in zip(LABELS, labels, stood, where, strict=True):
        found = [block.get(place, -1) for block, row in zip(own, at, strict=True) for place in range(int(row.sum()))]
        told = torch.where(label >= 0, batch.candidates[label], -1) if name == LABELS[1] else label
        answers[name], truths[name] = Answer(torch.tensor(found), at), told
    return answers, truths


KINDS = ("word", "entity", "relation")
LABELS = ("masked_lm_labels", "ent_masked_lm_labels", "rel_masked_lm_labels")


class Numbered(dict[str, int]):
    """Names that are a letter and their number."""

    def __init__(self, letter: str) -> None:
        super().__init__((f"{letter}{number}", number) for number in range(10_000))


def lines(case: Case, name: str) -> list[Any]:
    return [json.loads(line) for line in (case.folder / name).read_text(encoding="utf-8").splitlines()]


def loaded(case: Case) -> System:
    """The pretrained model with both fine-tuned heads, its entities from a file of their own."""
    tensors = {name: tensor for file in case.folder.glob("weights*") for name, tensor in load_file(file).items()}
    heads: dict[str, dict[str, int]] = {
        **{name: {} for name in HEADS},
        "relation": {"num_classes": len(tensors["rel_head.bias"])},
        "entity-typing": {"num_classes": len(tensors["cls_head.bias"])},
    }
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(case.config), encoding="utf-8")
        entities = Path(folder) / "entities.npy"
        np.save(entities, case.inputs["entity_table"].numpy())
        return mm_kptm.load("colake", {"": folder, "entities": entities}, heads=heads)


def released_objective(case: Case, system: System) -> MaskedNodes:
    """More negatives than were drawn: of the same generator the first ones are the same."""
    nodes = system.encoder.embed.text
    sizes = [table.num_embeddings for table in (nodes.word, nodes.entity, nodes.relation)]
    words, entities, relations = (released_masking(MASK, size, {0, 1}) for size in sizes)
    weights = frequencies(case.inputs["entity_frequency"])
    return MaskedNodes(words, entities, relations, weights, num_negatives=100)


def released_masks(graphs: list[WordGraph], **sizes: int) -> tuple[Tensor, list[list[dict[int, int]]]]:
    """Ids of all nodes with some hidden, and what stood there, for each kind and graph; the last word is the mask."""
    masks = sizes["vocab_size"] - 1, MASK, MASK
    treatments = [Treatment(mask, range(size)) for mask, size in zip(masks, sizes.values(), strict=True)]
    ids: list[int] = []
    stood: list[list[dict[int, int]]] = [[], [], []]
    for graph in graphs:
        entities = [int(name[1:]) for name in graph.entities]
        mentioned = {entity for entity, known in zip(entities, graph.mentioned, strict=True) if known}
        parts = graph.words, entities, [int(name[1:]) for name in graph.relations]
        for kind, (nodes, known) in enumerate(zip(parts, ((), mentioned, ()), strict=True)):
            hidden, found = hide_nodes(nodes, treatments[kind], random.Random(2020), never={0, 1}, mentioned=known)
            ids.extend(hidden)
            stood[kind].append(found)
    return torch.tensor(ids), stood


def finetuned(case: Case, system: System) -> dict[str, Answer]:
    """Texts with their entities, all of which see each other."""
    given = {name: case.inputs[f"finetune.{name}"] for name in ("input_ids", "position_ids", "token_type_ids")}
    real = case.inputs["finetune.attention_mask"].any(1)
    text = Tokens.padded(given["input_ids"], real, positions=given["position_ids"], segments=given["token_type_ids"])
    pooled = system(Inputs(text=text), POOLED_ONLY).pooled
    related, typed = system.head("relation")(pooled), system.head("entity-typing")(pooled)
    return {
        "re_logits": Answer(related),
        "re_loss": Answer(F.cross_entropy(related, case.inputs["finetune.relation_target"])),
        "typing_logits": Answer(typed),
        "typing_loss": Answer(F.binary_cross_entropy_with_logits(typed, case.inputs["finetune.typing_target"])),
    }


CASES = {"graph": graph, "pretrain_tiny": pretrain}
