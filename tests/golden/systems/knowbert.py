"""KnowBERT against its released code: both knowledge bases, all heads, and how texts get their candidates.

What the released code computes for padding is not compared: here padding does not exist.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Candidates, Inputs, OutputRows, Tokens
from mm_kptm.knowledge.objectives.entity_linking import EntityLinking
from mm_kptm.knowledge.objectives.mention_classification import (
    Marked,
    MarkedRelation,
    MarkedTyping,
    WordInContext,
    marked_scores,
)
from mm_kptm.objectives.pairs import pair_loss
from mm_kptm.objectives.tokens import token_loss
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case
from tests.golden.systems.knowbert_candidates import data


def fine_tuned(case: Case, task: str, head: str) -> System:
    """A model as its archive holds it: the pretrained one under ``model``, with a classifier beside it."""
    tensors = {f"model.{name}": tensor for name, tensor in load_file(case.folder / "weights.safetensors").items()}
    own = load_file(case.folder / "weights_downstream_heads.safetensors")
    tensors |= {name.removeprefix(f"{task}."): one for name, one in own.items() if name.startswith(f"{task}.")}
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text((case.folder / "config.json").read_text(), encoding="utf-8")
        return mm_kptm.load("knowbert", folder, heads={head: {"num_classes": len(tensors["classifier.weight"])}})


def model(case: Case) -> dict[str, Answer]:
    given, system = case.inputs, mm_kptm.load("knowbert", case.folder)
    real = given["tokens"] > 0
    bases: list[str] = sorted(case.config["soldered_kgs"])
    inputs = Inputs(
        text=Tokens.padded(given["tokens"], real, segments=given["segment_ids"]),
        candidates={
            name: Candidates.padded(
                given[f"{name}.candidate_spans"],
                given[f"{name}.candidate_entities"],
                given[f"{name}.candidate_entity_priors"],
                real,
                gold=given[f"{name}.gold_entities"].squeeze(-1),
            )
            for name in bases
        },
    )
    encoded = system(inputs)
    labels = given["lm_labels"][real]
    hidden = labels.nonzero().squeeze(1)
    words, classes = system.head("masked-tokens"), system.head("next-sentence")
    mlm = token_loss(words(system(inputs, OutputRows({"text": hidden})).text), labels[hidden])
    nsp = pair_loss(classes(encoded.pooled), given["next_sentence_label"])
    linking = {name: EntityLinking(name).loss(system, inputs) for name in bases}
    answers = {
        "contextual_embeddings": Answer(encoded.text, real),
        "pooled_output": Answer(encoded.pooled),
        "mlm_logits": Answer(words(encoded.text), real),
        "nsp_logits": Answer(classes(encoded.pooled)),
        "lm_loss": Answer(mlm),
        "nsp_loss": Answer(nsp),
        "total_loss": Answer(mlm + nsp + torch.stack(list(linking.values())).sum()),
        **{f"{name}.linking_loss": Answer(loss) for name, loss in linking.items()},
    }
    for stop in system.encoder.stops(inputs):
        if stop.base is not None:
            spoken = said(system, stop, real, given[f"{stop.base}.candidate_spans"][..., 0] >= 0)
            answers |= {f"{stop.base}.{what}": answer for what, answer in spoken.items()}
        elif stop.depth:
            answers[f"bert_layer.{stop.depth - 1}"] = Answer(stop.stream.x, real)
    return answers | tuned(case, inputs, real)


def said(system: System, stop: Any, real: Tensor, spans: Tensor) -> dict[str, Answer]:
    """What a knowledge base made of the spans that are no padding, and of the words that read them."""
    linked, kar = stop.linked, system.encoder.kars[stop.base]
    kept = linked.candidates.spans[:, 0] >= 0
    layout = linked.candidates.layout
    reading = kar.attention_layout(stop.stream.attention, linked)
    maps = kar.read.self_attention.attention.weights(linked.words, kar.enriched(linked), reading)
    seen = (real[:, None, :, None] & spans[:, None, None, :]).expand(-1, len(maps[0]), -1, -1)
    shares = [share for share, first in zip(maps, layout.offsets, strict=False) if kept[first]]
    return {
        "span_extractor": Answer(linked.pooled[kept], spans),
        "weighted_entity_embeddings": Answer(linked.mixture[kept], spans),
        "projected_span_representations": Answer(linked.spans[kept], spans),
        "projected_bert_representations": Answer(linked.words, real),
        "contextual_embeddings": Answer(stop.stream.x, real),
        "entity_attention_probs": Answer(torch.cat([share.flatten() for share in shares]), seen),
        "linking_scores": Answer(linked.scores[kept], spans),
    }


def tuned(case: Case, inputs: Inputs, real: Tensor) -> dict[str, Answer]:
    given = case.inputs
    rows = torch.zeros_like(given["tokens"]).masked_scatter(real, torch.arange(int(real.sum())))
    first, second = (rows.gather(1, given[name][:, None]) for name in ("index_a", "index_b"))
    both = torch.cat([first, second], dim=1)
    same = WordInContext()
    typed, related, alike = (
        Marked(inputs, marks, given[f"{task}_labels"])
        for task, marks in (("typing", first), ("tacred", both), ("wic", both))
    )
    typing, tacred, wic = (
        fine_tuned(case, task, head)
        for task, head in (("typing", MarkedTyping.name), ("tacred", MarkedRelation.name), ("wic", same.name))
    )
    return {
        "typing_logits": Answer(marked_scores(typing, MarkedTyping.name, typed)),
        "typing_loss": Answer(MarkedTyping().loss(typing, typed)),
        "tacred_logits": Answer(marked_scores(tacred, MarkedRelation.name, related)),
        "tacred_loss": Answer(MarkedRelation().loss(tacred, related)),
        "wic_logits": Answer(same.scores(wic, alike)),
        "wic_loss": Answer(same.loss(wic, alike)),
    }


CASES = {"wordnet_wiki": model, "data": data}
