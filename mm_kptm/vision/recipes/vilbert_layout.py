"""Configurations of ViLBERT and 12-in-1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.vision.objectives.region_targets import TARGETS

#: Rows of the published table of tasks.
NUM_TASKS = 20


def _refuse(asked: str, instead: str) -> UserError:
    return UserError(f"this configuration of ViLBERT asks for {asked}, which is not built; {instead}")


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes and options of a published configuration.

    Raises:
        UserError: it has an option that the recipe does not support.
    """
    if not config.get("with_coattention", True):
        raise _refuse("with_coattention false", "two encoders that never meet are two systems: load each by itself")
    if config.get("in_batch_pairs"):
        raise _refuse("in_batch_pairs", "give every pair of the batch as an example, with image_of for their images")
    for field in ("fixed_t_layer", "fixed_v_layer"):
        if config.get(field):
            raise _refuse(f"{field} {config[field]}", "set it to 0 and leave the layers out of the optimiser")
    if "roberta" in str(config.get("model", "")) or "roberta" in str(config.get("bert_model", "")):
        raise _refuse("a text stream of RoBERTa (model)", "the released models have one of BERT")
    if (kind := config.get("bi_attention_type", 1)) != 1:
        raise _refuse(f"bi_attention_type {kind}", "the released models have 1")
    sizes: dict[str, Any] = {}
    if "t_biattention_id" in config or "v_biattention_id" in config:
        places = {name: list(config.get(f"{name}_biattention_id", ())) for name in ("t", "v")}
        sizes |= {"cross_text": places["t"], "cross_regions": places["v"], "num_cross_layers": len(places["t"])}
    if "task_specific_tokens" in config:
        sizes["num_tasks"] = NUM_TASKS if config["task_specific_tokens"] else 0
    return sizes


def configured_heads(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What the published pretraining predicts of masked regions (``visual_target``)."""
    targets = list(TARGETS)[:3]
    number = config.get("visual_target", 0)
    return {"masked-regions": {"target": targets[number]}} if number in range(1, len(targets)) else {}


#: Published fields that are read here, and those of pretraining alone, which change no state.
READ = frozenset(
    {"t_biattention_id", "v_biattention_id", "task_specific_tokens", "with_coattention", "in_batch_pairs"}
    | {"fixed_t_layer", "fixed_v_layer", "model", "bert_model", "bi_attention_type", "visual_target", "v_target_size"}
    | {"bi_intermediate_size", "fast_mode", "pooling_method", "v_initializer_range", "objective", "num_negative"}
    | {"visualization", "predict_feature"}
)
