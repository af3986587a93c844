"""KEPLER against its released code: the model, relations read in three ways, and the files it is trained on."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.knowledge.embedding.negatives import Contrasted, FilteredNegatives, contrasted, pair_counts
from mm_kptm.knowledge.graph.triples import read_triples
from mm_kptm.knowledge.graph.wikidata5m import Numbering, read_descriptions
from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedTriples, contrast, scores
from mm_kptm.objectives.tokens import token_loss
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case

PAD = 1


def loaded(case: Case) -> System:
    """The pretrained model with all fine-tuned heads in one file."""
    tensors = {
        name: tensor for file in sorted(case.folder.glob("weights*")) for name, tensor in load_file(file).items()
    }
    classes = {
        "marked-relation": "classification_heads.tacred.out_proj.weight",
        "classifier": "classification_heads.sentence_classification_head.out_proj.weight",
        "marked-typing": "typing.out_proj.weight",
    }
    relations = len(tensors["ke_heads.wikiData.relation_emb.weight"])
    heads: dict[str, dict[str, int]] = {
        "masked-tokens": {},
        "knowledge-embedding": {"num_relations": relations},
        **{head: {"num_classes": len(tensors[name])} for head, name in classes.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(case.config), encoding="utf-8")
        return mm_kptm.load("kepler", folder, heads=heads)


def pretrain(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, loaded(case)
    real = given["src_tokens"] != PAD
    text = Tokens.padded(given["src_tokens"], real, positions=real.long().cumsum(1) - 1)
    inputs = Inputs(text=text)
    depths = [stream.x for stream in system.hidden_states(inputs)]
    encoded = system(inputs)
    logits, targets = system.head("masked-tokens")(encoded.text), given["mlm_target"][real]
    mlm = token_loss(logits[targets != PAD], targets[targets != PAD])

    answers = {}
    for mode in ("base", "cond", "rel"):
        true, false = scores(system, described(given, mode))
        loss = contrast(true, false).mean()
        answers[f"{mode}.positive_score"] = Answer(true[:, None])
        answers[f"{mode}.negative_score"] = Answer(false)
        answers[f"{mode}.ke_loss"] = Answer(loss)
        answers[f"{mode}.total_loss"] = Answer(mlm + loss)

    grid = logits.new_zeros(*real.shape, logits.shape[1])
    grid[real] = logits
    states = encoded.text.new_zeros(*real.shape, system.dim)
    states[real] = encoded.text
    each = torch.arange(len(real))
    marked = states[each[:, None], given["tacred_marker_positions"]].flatten(1)
    related = system.head("marked-relation")(marked)
    typed = system.head("marked-typing")(states[given["typing_pos"].bool()])
    return {
        **answers,
        **{f"inner_states.{depth}": Answer(x, real) for depth, x in enumerate(depths)},
        "mlm_logits": Answer(grid.transpose(0, 1)[real.T], real.T),
        "mlm_loss": Answer(mlm),
        "entity_embedding.heads": Answer(
            system(Inputs(text=Tokens.of(texts(given["base.heads"]))), POOLED_ONLY).pooled
        ),
        "tacred_logits": Answer(related),
        "tacred_loss_sum": Answer(F.cross_entropy(related, given["tacred_labels"], reduction="sum")),
        "sentence_classification_logits": Answer(system.head("classifier")(encoded.pooled)),
        "typing_logits": Answer(typed),
        "typing_loss": Answer(F.binary_cross_entropy_with_logits(typed, given["typing_labels"])),
    }


def described(given: dict[str, Tensor], mode: str) -> DescribedTriples:
    relations = given["relations"].tolist()
    count = len(relations)
    told = given.get(f"{mode}.relation_desc")
    return DescribedTriples.of(
        relations,
        heads=texts(given["base.heads"]),
        tails=texts(given["base.tails"]),
        false_heads=grouped(texts(given["base.nHeads"]), count),
        false_tails=grouped(texts(given["base.nTails"]), count),
        told_heads=texts(given[f"{mode}.heads_r"]),
        told_tails=texts(given[f"{mode}.tails_r"]),
        relation_texts=None if told is None else texts(told),
    )


def texts(padded: Tensor) -> list[list[int]]:
    return [row[row != PAD].tolist() for row in padded]


def grouped(rows: Sequence[list[int]], count: int) -> list[list[list[int]]]:
    """As many groups as there are triples: the false entities of one stand behind each other."""
    each = len(rows) // count
    return [list(rows[start : start + each]) for start in range(0, len(rows), each)]


def data(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """The released scripts drop entities above Q1000, and draw from one generator for both splits."""
    read = read_descriptions(case.folder / "wikidata5m_text.txt", keep=lambda name: int(name[1:]) <= 1000)
    numbering = Numbering(read.numbers)
    splits = {split: numbering(read_triples(case.folder / f"wikidata5m_{split}.txt")) for split in ("train", "valid")}
    everything = [triple for triples in splits.values() for triple in triples]
    draws = np.random.RandomState(int(case.called_with("numpy seed")))
    each = len(lines(case, "negHead.train.bpe")) // len(lines(case, "head.train.bpe"))
    negatives = FilteredNegatives(everything, len(read.texts))

    def draw(count: int) -> list[int]:
        return draws.randint(len(read.texts), size=count).tolist()

    examples = {split: list(contrasted(triples, negatives, each, draw)) for split, triples in splits.items()}
    lengths = [len(text.split()) for text in read.texts]
    answers: dict[str, Any] = {
        "Qdesc.txt": list(read.texts),
        "count.json": {f"{entity},{relation}": n for (entity, relation), n in pair_counts(everything).items()},
    }
    for split, made in examples.items():
        answers |= {f"{name}.{split}.bpe": column for name, column in dumped(made, read.texts).items()}
        answers[f"{split}.txt"] = [f"{triple.head} {triple.relation} {triple.tail}" for triple in splits[split]]
        answers[f"relation.{split}"] = [example.triple.relation for example in made]
        answers[f"sizes.{split}"] = [example.size(lengths) for example in made]
    files = {file.name: lines(case, file.name) for file in case.folder.glob("*.bpe")}
    files |= {name: lines(case, name) for name in ("Qdesc.txt", "train.txt", "valid.txt")}
    truths = files | case.json("arrays.json") | {"count.json": case.json("count.json")}
    return {name: Answer(answer) for name, answer in answers.items()}, truths


def dumped(examples: Sequence[Contrasted], texts: Sequence[str]) -> dict[str, list[str]]:
    return {
        "head": [texts[example.triple.head] for example in examples],
        "tail": [texts[example.triple.tail] for example in examples],
        "negHead": [texts[entity] for example in examples for entity in example.false_heads],
        "negTail": [texts[entity] for example in examples for entity in example.false_tails],
    }


def lines(case: Case, name: str) -> list[str]:
    return (case.folder / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")


CASES = {"pretrain_tiny": pretrain, "data": data}
