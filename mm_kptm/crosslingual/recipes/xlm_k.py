"""XLM-K: XLM-R further pretrained on entity mentions and multilingual descriptions."""

from collections.abc import Mapping
from typing import Any

from mm_kptm.crosslingual.objectives.entity_definition import entity_definition
from mm_kptm.crosslingual.recipes.xlm_r import (
    HEADS,
    HUGGING_FACE_RULES,
    LARGE,
    NOTES,
    encoder_rules,
    read_config,
    xlm_r,
)
from mm_kptm.recipes.roberta import ROBERTA_TABLES
from mm_kptm.recipes.roberta import configured_heads as masked_tokens_heads
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename

#: Arguments of the head by the fields of released training.
_HEAD_FIELDS = {
    "head_layers": "num_layers",
    "memory_bank_size": "queue_size",
    "multi_queue": "multi_queue",
    "sync_bn": "sync_bn",
}


def read_definition_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes as in XLM-R's configuration; the norm after the embeddings is there whatever a field says.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    fields = _fields(config)
    check_fields("xlm-k", fields, {"sa_lg_bn": (False,), "enable_projection_head": (True,)})
    return read_config({name: value for name, value in fields.items() if name != "encoder_normalize_before"})


def configured_heads(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sizes of the heads that a configuration asks for."""
    fields = _fields(config)
    contrast = {ours: fields[theirs] for theirs, ours in _HEAD_FIELDS.items() if theirs in fields}
    return {**masked_tokens_heads(config), **({"entity-definition": contrast} if contrast else {})}


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**config, **config.get("args", {})}.items() if name != "args"}


_HEAD = "decoder.projection_head_dic.wiki_definition"

XLM_K_BASE = Recipe(
    name="xlm-k-base",
    family="xlm-k",
    paper="Jiang et al. 2022, XLM-K: Improving Cross-Lingual Language Model Pre-training with Multilingual Knowledge, "
    "AAAI, arXiv:2109.12573",
    build=xlm_r,
    reads=frozenset({"text"}),
    heads={**HEADS, "entity-definition": entity_definition},
    objectives=("masked-tokens", "entity-definition", "object-entailment"),
    pretraining_heads=("masked-tokens",),
    weights=(
        *(
            rule
            for number, side in enumerate(("word", "document"))
            for rule in (
                Rename(
                    f"{_HEAD}.{number}.projection_list.{{i}}.weight",
                    f"heads.entity-definition.{side}.linears.{{i}}.weight",
                ),
                Drop(
                    f"{_HEAD}.{number}.batch_norm_list.{{i}}.num_batches_tracked",
                    because="running statistics forget by a fixed share, not by a count",
                ),
                Rename(
                    f"{_HEAD}.{number}.batch_norm_list.{{i}}.{{leaf}}",
                    f"heads.entity-definition.{side}.norms.{{i}}.{{leaf}}",
                ),
            )
        ),
        *encoder_rules(),
        *HUGGING_FACE_RULES,
    ),
    model_types=("xlm-roberta",),
    fixed_fields={},
    read_config=read_definition_config,
    infer_from_shapes=ROBERTA_TABLES,
    configured_heads=configured_heads,
    notes=(
        *NOTES,
        "queues are in no checkpoint: load a head entity-definition with fresh=['heads.entity-definition.words', "
        "'heads.entity-definition.documents']",
        "statistics of the batch in the projections include sentences without an entity, as in the released code; with "
        "several processes they are of each, or of all with sync_bn",
        "cts_temp, layer_of_cts_loss, enable_l2_norm, word2doc_scale, doc2word_scale of a released configuration are "
        "arguments of the objective: temperature, layer, normalised, word_scale and document_scale",
    ),
)

XLM_K_LARGE = Recipe(**{**vars(XLM_K_BASE), "name": "xlm-k-large", "sizes": LARGE})
