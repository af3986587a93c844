"""ERNIE of Tsinghua against its released code: the model with all its heads, annotations and pretraining instances."""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Entities, Inputs, Tokens
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.knowledge.fusion.ernie import FusedLayer, FusedState
from mm_kptm.knowledge.graph.openke import read_entity_ids
from mm_kptm.knowledge.injection.entity_grid import Mention, whole_words, word_starts
from mm_kptm.knowledge.injection.ernie_instances import Instance, InstanceMaker, alternating, read_documents
from mm_kptm.knowledge.injection.mention_markers import (
    Annotated,
    Annotator,
    Gridded,
    confident,
    from_the_start,
    mark_linked_pair,
    mark_pair,
    mark_target,
)
from mm_kptm.knowledge.objectives.entity_denoising import Denoising, EntityDenoising
from mm_kptm.objectives.pairs import pair_loss
from mm_kptm.objectives.tokens import token_loss
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case

Number = TypeVar("Number", int, float)


def loaded(case: Case) -> System:
    """The pretrained model with both fine-tuned heads in one file."""
    tensors = {
        name: tensor for file in sorted(case.folder.glob("weights*")) for name, tensor in load_file(file).items()
    }
    sizes = {
        "entity-typing": {"num_classes": len(tensors["typing.weight"])},
        "relation": {"num_classes": len(tensors["classifier.weight"])},
    }
    heads: dict[str, dict[str, int]] = {"masked-tokens": {}, "next-sentence": {}, "entity-denoising": {}, **sizes}
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps(case.config), encoding="utf-8")
        return mm_kptm.load("ernie_thu", folder, heads=heads)


def pretrain(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, loaded(case)
    real = given["attention_mask"].bool()
    text = Tokens.padded(given["input_ids"], real, segments=given["token_type_ids"])
    entities = Entities(
        vectors=given["input_ent"][real], linked=given["ent_mask"][real] > 0, ids=given["entity_ids_noised"][real]
    )
    inputs = Inputs(text=text, entities=entities)
    encoded, depths = system(inputs), list(system.encoder.fused_states(inputs))

    words, classes = system.head("masked-tokens"), system.head("next-sentence")
    hidden, labels = encoded.text, given["masked_lm_labels"][real]
    mlm = token_loss(words(hidden[labels >= 0]), labels[labels >= 0])
    nsp = pair_loss(classes(encoded.pooled), given["next_sentence_label"].flatten())

    candidates, aims = given["candidate"], given["ent_labels"][real]
    rows = (aims >= 0).nonzero().squeeze(1)
    owners = text.layout.sequence_ids(rows.device)[rows]
    dea = EntityDenoising().loss(system, Denoising(inputs, candidates, rows, aims[rows], owners))

    typed, related = system.head("entity-typing")(encoded.pooled), system.head("relation")(encoded.pooled)
    plain = system(inputs.with_streams(entities=None))
    return {
        "embedding_output": Answer(depths[0].stream.x, real),
        **{f"hidden_states.{number}": Answer(state.stream.x, real) for number, state in enumerate(depths[1:])},
        **{
            f"entity_states.{number}": Answer(on_the_grid(system, number, depths, entities.vectors), real)
            for number in range(len(depths) - 1)
        },
        "pooled_output": Answer(encoded.pooled),
        "mlm_logits": Answer(words(hidden), real),
        "nsp_logits": Answer(classes(encoded.pooled)),
        "dea_logits": Answer(system.head("entity-denoising")(hidden, candidates), real),
        "mlm_loss": Answer(mlm),
        "nsp_loss": Answer(nsp),
        "dea_loss": Answer(dea),
        "total_loss": Answer(mlm + nsp + dea),
        "original_loss": Answer(mlm + nsp),
        "typing_logits": Answer(typed),
        "typing_loss": Answer(F.binary_cross_entropy_with_logits(typed, given["typing_labels"])),
        "relation_logits": Answer(related),
        "relation_loss": Answer(F.cross_entropy(related, given["relation_labels"])),
        "no_entity.mlm_logits": Answer(words(plain.text), real),
    }


def on_the_grid(system: System, number: int, depths: list[FusedState], vectors: Tensor) -> Tensor:
    """The entities after a layer at every token.

    We carry linked ones only. At the others the released code holds what no layer reads: the vectors that came in,
    until a fused layer leaves its mixture with no entity there.
    """
    fused = [layer for layer in range(number + 1) if str(layer) in system.encoder.fusions]
    if not fused:
        grid = vectors.clone()
    else:
        layer = system.encoder.fusions[str(fused[-1])]
        assert isinstance(layer, FusedLayer)
        before, linked = depths[fused[-1]]
        x = layer.layer.self_attention(before.x, before.attention)
        entities = linked.x if layer.self_attention is None else layer.self_attention(linked.x, linked.attention_layout)
        grid = layer.fuse.entities(torch.zeros_like(vectors), layer.fuse.mix(x, entities, linked.rows))
    after = depths[number + 1].linked
    return grid.index_copy(0, after.rows, after.x)


def data(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """Annotated texts of the released readers as tokens with entities, padded as the released code pads them."""
    tokenizer = WordPiece.open(case.folder / "vocab.txt", lowercase=True, ideographs=False, longest_word=100)
    answers: dict[str, Answer] = {}
    truths: dict[str, Any] = {}

    def compare(name: str, ours: Any, theirs: Any) -> None:
        answers[name], truths[name] = Answer(ours), theirs

    for number, told in enumerate(case.json("alignment.json")):
        pieces = tokenizer.encode(told["text"])
        mentions = [Mention(*mention) for mention in told["ents"]]
        compare(f"alignment {number} tokens", list(pieces.texts), told["tokens"])
        rules = {"entities_first_subtoken": word_starts, "span_mode_entities": whole_words}
        for key, place in rules.items():
            ours = [entity or "UNK" for entity in place(told["text"], pieces, mentions)]
            compare(f"alignment {number} {key}", ours, told[key])

    numbers = read_entity_ids(case.folder / "entity2id.txt")
    for task, told in case.json("features.json").items():
        raw = case.json(f"raw_{task}.json")
        annotate = Annotator(tokenizer, numbers, max_length=told["max_seq_length"])
        kept = [
            (example, gridded) for example in raw if (gridded := annotate(READERS[task](example, told))) is not None
        ]
        compare(f"{task} number", len(kept), len(told["features"]))
        compare(f"{task} label_list", classes(raw), told["label_list"])
        for number, ((example, gridded), features) in enumerate(zip(kept, told["features"], strict=True)):
            ours = padded(gridded, told["max_seq_length"]) | labelled(example, told["label_list"])
            compare(f"{task} {number} keys", sorted(ours), sorted(features))
            for key, theirs in features.items():
                compare(f"{task} {number} {key}", ours[key], theirs)
            compare(
                f"{task} {number} tokens",
                [tokenizer.vocabulary[token] for token in ours["input_ids"]],
                told["tokens"][number],
            )
    return answers, truths


def typing(example: dict[str, Any], told: dict[str, Any]) -> Annotated:
    mentions = confident([Mention(*mention) for mention in example["ents"]], told["threshold"])
    return mark_target(example["sent"], example["start"], example["end"], mentions)


def tacred(example: dict[str, Any], told: dict[str, Any]) -> Annotated:
    head, tail = (from_the_start(Mention(*mention)) for mention in example["ents"])
    mentions = confident([Mention(*mention) for mention in example["ann"]], told["threshold"])
    return mark_pair(example["text"], head, tail, mentions)


def fewrel(example: dict[str, Any], told: dict[str, Any]) -> Annotated:
    head, tail = (from_the_start(Mention(*mention)) for mention in example["ents"])
    return mark_linked_pair(example["text"], head, tail)


READERS = {"typing": typing, "tacred": tacred, "fewrel": fewrel}


def classes(raw: list[dict[str, Any]]) -> list[str]:
    return sorted({label for example in raw for label in example.get("labels", [example.get("label")])})


def labelled(example: dict[str, Any], label_list: list[str]) -> dict[str, Any]:
    if "labels" in example:
        return {"labels": [int(label in example["labels"]) for label in label_list]}
    return {"label_id": label_list.index(example["label"])}


def padded(gridded: Gridded, length: int) -> dict[str, Any]:
    """The released features; their mask counts the first token as linked, which is the model's business here."""
    rest = length - len(gridded.ids)
    linked = [int(place == 0 or entity >= 0) for place, entity in enumerate(gridded.entities)]
    return {
        "input_ids": [*gridded.ids, *[0] * rest],
        "input_mask": [1] * len(gridded.ids) + [0] * rest,
        "segment_ids": [0] * length,
        "input_ent": [*gridded.entities, *[-1] * rest],
        "ent_mask": [*linked, *[0] * rest],
    }


def instances(case: Case) -> dict[str, Answer]:
    """The released script's instances from the same seed; what it was called with stands in the case's description."""
    numbers = read_entity_ids(case.folder / "entity2id.txt")
    documents = read_documents(case.folder / "in_token.txt", case.folder / "in_entity.txt", numbers, thin=alternating)
    length = int(case.called_with("max_seq_length"))
    maker = InstanceMaker(
        max_length=length,
        short_rate=case.called_with("short_seq_prob"),
        hidden_rate=case.called_with("masked_lm_prob"),
        most_hidden=int(case.called_with("max_predictions_per_seq")),
        copies=int(case.called_with("dupe_factor")),
    )
    made = list(maker(documents, random.Random(int(case.called_with("random.Random")))))

    def rows(column: Callable[[Instance], Sequence[int]], padding: int) -> Answer:
        return Answer(torch.tensor([[*column(one), *[padding] * (length - len(one.ids))] for one in made]))

    return {
        "input_ids": rows(lambda one: one.ids, 0),
        "input_mask": rows(lambda one: [1] * len(one.ids), 0),
        "segment_ids": rows(lambda one: one.segments, 0),
        "masked_lm_labels": rows(lambda one: one.labels, -1),
        "entity": rows(lambda one: one.entities, -1),
        "entity_mask": rows(lambda one: [int(entity >= 0) for entity in one.entities], 0),
        "next_sentence_label": Answer(torch.tensor([int(one.random_next) for one in made])),
    }


CASES = {"pretrain_tiny": pretrain, "data": data, "instances": instances}
