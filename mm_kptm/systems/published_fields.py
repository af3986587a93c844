"""Fields of published configurations: those that change nothing, and those that a system may be built with.

Every field of a ``config.json`` is read by its recipe, or has one of the values that the recipe is built with, or
changes no state. What no list knows is named in a notice.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mm_kptm.errors import UserError, notice

_WHO = "says who wrote the file, and with what"
_FRESH = "spreads fresh weights, and those of a checkpoint are not fresh"
_HEAD = "sizes or switches a head of transformers, not the encoder; shapes of heads are checked"
_OUTPUT = "says what transformers returns, not how it is calculated"
_SPEED = "changes speed or memory, and no state"
_GENERATION = "is read by generation and tokenizers, not by the model"

#: Fields of transformers' configurations that change no state, and why.
NEUTRAL: Mapping[str, str] = {
    **dict.fromkeys(
        ("transformers_version", "architectures", "model_type", "_name_or_path", "name_or_path", "finetuning_task",
         "adapters", "auto_map", "tokenizer_class", "task_specific_params", "_num_labels", "language", "name",
         "_commit_hash", "base_model_name_or_path", "license"), _WHO
    ),
    **dict.fromkeys(
        ("initializer_range", "initializer_factor", "init_std", "embed_init_std", "special_visual_initialize"), _FRESH
    ),
    **dict.fromkeys(
        ("id2label", "label2id", "num_labels", "problem_type", "classifier_dropout", "classifier_dropout_prob",
         "classif_dropout", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
         "summary_first_dropout", "start_n_top", "end_n_top", "num_qa_labels", "num_object_labels", "num_attr_labels",
         "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
         "directionality", "task_matched", "task_mask_lm", "task_obj_predict", "task_qa", "visual_obj_loss",
         "visual_attr_loss", "visual_feat_loss", "visual_loss_normalizer"), _HEAD
    ),
    **dict.fromkeys(
        ("output_hidden_states", "output_attentions", "return_dict", "output_past", "use_return_dict"), _OUTPUT
    ),
    **dict.fromkeys(
        ("chunk_size_feed_forward", "use_cache", "gradient_checkpointing", "torchscript", "dtype", "torch_dtype",
         "use_bfloat16", "attn_implementation", "_attn_implementation", "_attn_implementation_autoset",
         "use_flash_attn"), _SPEED
    ),
    **dict.fromkeys(
        ("bos_token_id", "eos_token_id", "sep_token_id", "unk_index", "mask_index", "bos_index", "eos_index",
         "pad_index", "mask_token_id", "lang_id", "id2lang", "lang2id", "decoder_start_token_id",
         "forced_eos_token_id", "forced_bos_token_id", "max_length", "min_length", "num_beams", "early_stopping",
         "prefix", "do_lower_case", "bos_ids", "eos_ids"), _GENERATION
    ),
    "pad_token_id": "keeps one row of the word table without gradient; where positions follow from it, the recipe "
    "reads it",
    "max_position": "the table of positions says how many rows it has",
}  # fmt: skip

_NO = (False, None)

#: What every encoder of the suite is built with; a recipe that builds something else says so.
STANDARD: Mapping[str, Sequence[Any]] = {
    "is_decoder": _NO,
    "add_cross_attention": _NO,
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": _NO,
    "causal": _NO,
    "asm": _NO,
    "is_encoder": (True,),
    "position_embedding_type": ("absolute",),
    "tie_word_embeddings": (True,),
    "layer_norm_eps": (),  # a size where the builder takes norm_eps; recipes with one fixed value name it
    "pruned_heads": ({}, None),
    "use_task_id": _NO,
    "bypass_transformer": _NO,
    "quantization_config": (None,),
    "rope_parameters": (None,),
}


def check_family(system: str, config: Mapping[str, Any], model_types: Sequence[str]) -> None:
    """Refuse a configuration of another family, by its ``model_type`` or, where it has none, its ``architectures``.

    Args:
        system: for the message.
        config: published fields.
        model_types: what transformers calls the models that may be read; empty: nothing is known of them.

    Raises:
        UserError: it says another one.

    >>> check_family("roberta-base", {"architectures": ["BertForMaskedLM"]}, ["roberta"])
    Traceback (most recent call last):
    mm_kptm.errors.UserError: the configuration says architectures=['BertForMaskedLM'], but roberta-base reads \
checkpoints of model_type 'roberta' only; name the system of that family
    """
    asked, field = config.get("model_type"), "model_type"
    if not asked:
        classes, field = config.get("architectures"), "architectures"
        name = classes[0] if isinstance(classes, list) and classes else ""
        shape = re.fullmatch(r"([A-Za-z0-9]+?)(Model|For[A-Z]|With[A-Z]|LMHead|PreTrained)\w*", str(name))
        asked = shape[1] if shape else None
    if not asked or not model_types or _bare(str(asked)) in {_bare(known) for known in model_types}:
        return
    known = " or ".join(repr(kind) for kind in model_types)
    raise UserError(
        f"the configuration says {field}={config[field]!r}, but {system} reads checkpoints of model_type {known} only; "
        "name the system of that family"
    )


def _bare(model_type: str) -> str:
    return model_type.lower().replace("-", "").replace("_", "")


def note_unknown(system: str, config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Name in a notice the fields that say something and that nothing here knows."""
    listed = {*NEUTRAL, *known}
    unknown = sorted(
        name
        for name, value in config.items()
        if name not in listed and name[:1] != "_" and value not in (None, False, "", {}, [])
    )
    if unknown:
        rest = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notice(f"the configuration has fields that {system} does not read: {', '.join(unknown[:5])}{rest}")


def check_fields(system: str, config: Mapping[str, Any], builds: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a configuration that asks for something other than what is built.

    Args:
        system: whose configuration it is, for the message.
        config: published fields; those that are absent ask for nothing.
        builds: values that every field may have; none: the system has no setting for it.

    Raises:
        UserError: a field has another value.

    >>> check_fields("bert", {"is_decoder": True}, {"is_decoder": [False]})
    Traceback (most recent call last):
    mm_kptm.errors.UserError: the configuration says is_decoder=True, but bert is built with is_decoder=False only
    """
    for name, values in builds.items():
        if name in config and config[name] not in values:
            known = " or ".join(repr(value) for value in values)
            built = f"is built with {name}={known} only" if known else "has no setting for it"
            raise UserError(f"the configuration says {name}={config[name]!r}, but {system} {built}")
