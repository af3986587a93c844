"""K-Adapter against its released code: two sets of adapters, their pretraining tasks, and what is fine-tuned on them.

The released adapters read padding too. It is made real here, as tokens that are hidden from the encoder's other rows
and that the adapters read, so that all positions can be compared.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.knowledge.objectives.mention_classification import (
    DependencyHead,
    DependencyTargets,
    Marked,
    MarkedRelation,
    MarkedTyping,
    marked_scores,
)
from mm_kptm.nn.visibility import Matrix
from mm_kptm.systems.discovery import find
from mm_kptm.systems.system import System
from tests.golden.case import Answer, Case


def sizes(case: Case, *, skip: int) -> dict[str, Any]:
    args, adapter = case.config["args"], case.config["adapter_config"]
    return {
        **find("k_adapter").configured_sizes(case.config["backbone"]),
        "adapter_depths": args["adapter_list"],
        "adapter_dim": adapter["hidden_size"],
        "adapter_heads": adapter["num_attention_heads"],
        "adapter_layers": args["adapter_transformer_layers"],
        "adapter_ffn_dim": adapter["intermediate_size"],
        "adapter_skip": skip,
        "adapter_sight": "everything",
    }


Head = tuple[str, dict[str, int]]


def pretrained(case: Case, name: str, side: str, head: Head, *, skip: int) -> System:
    files = {
        "": case.folder / "weights.safetensors",
        f"{side}_adapter.": case.folder / f"weights_{side}_adapter.safetensors",
    }
    return mm_kptm.load(name, files, heads=dict([head]), **sizes(case, skip=skip))


def fine_tuned(case: Case, task: str, head: str, fusion: str, sides: Mapping[str, str]) -> System:
    """Both parts of a saved model: adapters and heads in one file, the encoder in another."""
    tensors = load_file(case.folder / "weights_downstream_heads.safetensors")
    own = {name.removeprefix(f"{task}."): tensor for name, tensor in tensors.items() if name.startswith(f"{task}.")}
    if fusion == "add":
        own = {name: tensor for name, tensor in own.items() if not name.startswith("task_dense")}
    with tempfile.TemporaryDirectory() as folder:
        save_file(own, Path(folder) / "model.safetensors")
        adapters = {f"{side}_adapter.": case.folder / f"weights_{side}_adapter.safetensors" for side in sides}
        return mm_kptm.load(
            "k_adapter",
            {"model.": case.folder / "weights.safetensors", "": Path(folder) / "model.safetensors", **adapters},
            heads={head: {"num_classes": len(own["out_proj.weight"])}},
            adapters=list(sides.values()),
            fusion=fusion,
            **sizes(case, skip=case.config["args"]["adapter_skip_layers"]),
        )


def tiny(case: Case) -> dict[str, Answer]:
    given, skip = case.inputs, case.config["args"]["adapter_skip_layers"]
    real = given["attention_mask"].bool()
    seen = Matrix.of([row.expand(len(row), -1) for row in real])
    inputs = Inputs(text=Tokens.padded(given["input_ids"], torch.ones_like(real), attention_mask=seen))
    subjects, objects = given["subj_special_start_id"].bool(), given["obj_special_start_id"].bool()

    def grid(rows: Tensor) -> Tensor:
        return rows.unflatten(0, real.shape)

    numbers = grid(torch.arange(real.numel()))
    both_marks = torch.stack([numbers[subjects], numbers[objects]], dim=1)
    pretraining, tacred = (Marked(inputs, both_marks, given[f"{name}_labels"]) for name in ("relation", "tacred"))
    typing = Marked(inputs, numbers[subjects][:, None], given["typing_labels"])
    relate, describe = MarkedRelation(), MarkedTyping()

    relation: Head = ("marked-relation", {"num_classes": case.config["n_rel"]})
    factual = pretrained(case, "k-adapter-factual", "fac", relation, skip=skip)
    places: Head = ("dependency-heads", {"max_length": case.config["args"]["max_seq_length"]})
    linguistic = pretrained(case, "k-adapter-linguistic", "lin", places, skip=skip)
    *backbone, fused = linguistic.hidden_states(inputs)
    syntax = linguistic.head("dependency-heads")
    governed = syntax(fused.x, fused.attention)
    shares = torch.stack(syntax.self_attention.attention.weights(fused.x, fused.x, fused.attention))

    answers = {
        **{f"backbone.hidden_states.{depth}": Answer(grid(stream.x)) for depth, stream in enumerate(backbone)},
        **made("fac", factual.encoder.adapted(inputs)["factual"], grid),
        **made("lin", linguistic.encoder.adapted(inputs)["linguistic"], grid),
        "fac.relation_logits": Answer(marked_scores(factual, relate.name, pretraining)),
        "fac.relation_loss": Answer(relate.loss(factual, pretraining)),
        "lin.head_logits": Answer(grid(governed)),
        "lin.head_loss": Answer(
            DependencyHead().loss(linguistic, DependencyTargets(inputs, numbers[real], given["head_labels"][real]))
        ),
        "lin.attention_probs": Answer(shares),
    }
    if case.config["skip_case"]:
        skipping = pretrained(case, "k-adapter-factual", "fac", relation, skip=case.config["skip_case"])
        answers["fac.skip.relation_logits"] = Answer(marked_scores(skipping, relate.name, pretraining))

    both, one = {"fac": "factual", "lin": "linguistic"}, {"fac": "factual"}
    for name, fusion, sides in (("concat", "concat", both), ("add", "add", both), ("add.fac_only", "add", one)):
        system = fine_tuned(case, "tacred", relate.name, fusion, sides)
        answers[f"tacred.{name}.logits"] = Answer(marked_scores(system, relate.name, tacred))
        answers[f"tacred.{name}.loss"] = Answer(relate.loss(system, tacred))
        system = fine_tuned(case, "openentity", describe.name, fusion, sides)
        answers[f"openentity.{name}.logits"] = Answer(marked_scores(system, describe.name, typing))
        answers[f"openentity.{name}.loss"] = Answer(describe.loss(system, typing))
    return answers


def made(side: str, outputs: list[Tensor], grid: Callable[[Tensor], Tensor]) -> dict[str, Answer]:
    return {f"{side}.adapter.{number}": Answer(grid(rows)) for number, rows in enumerate(outputs)}


CASES = {"tiny": tiny}
