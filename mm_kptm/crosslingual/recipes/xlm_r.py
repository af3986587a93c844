"""XLM-R: RoBERTa on a hundred languages, shared by the systems built on it."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.recipes.bert import answer_spans, class_counts, token_classes
from mm_kptm.recipes.roberta import (
    HUGGING_FACE_HEAD_RULES,
    ROBERTA_FIELDS,
    ROBERTA_TABLES,
    classes,
    configured_heads,
    fairseq_head_rules,
    fairseq_rules,
    hugging_face_rules,
    masked_tokens,
    roberta,
)
from mm_kptm.systems.published_fields import STANDARD, check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Rule
from mm_kptm.systems.transformers_form import XLM_ROBERTA_FORM


def xlm_r(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 250002,
    max_positions: int = 514,
    num_segments: int = 0,
    position_offset: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Conneau et al. (2020, section 3); the defaults are XLM-R base.

    RoBERTa's encoder, without language or segment embeddings. ``max_positions`` includes two unused rows.
    ``attention_dropout`` defaults to ``dropout``.
    """
    return roberta(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        activation=activation,
        norm_eps=norm_eps,
        dropout=dropout,
        attention_dropout=attention_dropout,
    )


#: What a configuration in either layout may ask for; absent fields ask for nothing.
BUILT: dict[str, Any] = {
    **{name: values for name, values in STANDARD.items() if name != "layer_norm_eps"},
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
    "pooler_activation_fn": ("tanh",),
    "activation_dropout": (0, 0.0),
    "encoder_layerdrop": (0, 0.0),
    "encoder_layers_to_keep": (None,),
    "encoder_normalize_before": (False,),
    "encoder_learned_pos": (True,),
    "untie_weights_roberta": (False,),
    "spectral_norm_classification_head": (False,),
}

#: fairseq's names of the tanh approximation.
_FAIRSEQ_ACTIVATIONS = {"gelu_accurate": "gelu_new", "gelu_fast": "gelu_new"}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from a Hugging Face configuration or fairseq's arguments, nested under ``args`` or not.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    config = {**config, **config.get("args", {})}
    check_fields("xlm-r", config, BUILT)
    sizes = {ours: config[theirs] for theirs, ours in ROBERTA_FIELDS.items() if theirs in config}
    for theirs in ("attention_dropout", "attention_probs_dropout_prob"):
        if theirs in config:
            sizes["attention_dropout"] = config[theirs]
    if "activation" in sizes:
        sizes["activation"] = _FAIRSEQ_ACTIVATIONS.get(sizes["activation"], sizes["activation"])
    if config.get("pad_token_id") is not None:
        sizes["position_offset"] = config["pad_token_id"] + 1
    return sizes


def encoder_rules(start: str = "") -> tuple[Rule, ...]:
    """Key renamings of fairseq's encoder and masked-token head, under the prefix ``start``."""
    return (
        *fairseq_rules(f"{start}{{side}}.sentence_encoder", "encoder"),
        *fairseq_head_rules(f"{start}{{side}}"),
        Rename(f"{start}classification_heads.{{name}}.dense.{{leaf}}", "heads.classifier.pool.dense.{leaf}"),
        Rename(f"{start}classification_heads.{{name}}.out_proj.{{leaf}}", "heads.classifier.out.{leaf}"),
    )


#: Key renamings of Hugging Face's files with one of its heads.
HUGGING_FACE_RULES: tuple[Rule, ...] = (
    *hugging_face_rules("[roberta.]", "encoder"),
    *HUGGING_FACE_HEAD_RULES,
    Rename("classifier.dense.{leaf}", "heads.classifier.pool.dense.{leaf}"),
    Rename("classifier.out_proj.{leaf}", "heads.classifier.out.{leaf}"),
    Rename("classifier.{leaf}", "heads.token-classifier.1.{leaf}"),
    Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
)

#: Heads of the published checkpoints and of Hugging Face's fine-tuned ones.
HEADS: dict[str, Callable[..., nn.Module]] = {
    "masked-tokens": masked_tokens,
    "classifier": classes,
    "token-classifier": token_classes,
    "answer-spans": answer_spans,
}

NOTES = (
    "positions count real tokens from the padding id + 1 and run on over a pair; padded tensors with padding in front "
    "or between take them from counted_positions",
    "pairs for translation language modelling have one separator, pairs of a task have two",
    "XLM-R XL and XXL put the norm before each sublayer and are refused",
)

XLM_R_BASE = Recipe(
    name="xlm-r-base",
    family="xlm-r",
    paper="Conneau et al. 2020, Unsupervised Cross-lingual Representation Learning at Scale, ACL, arXiv:1911.02116",
    build=xlm_r,
    reads=frozenset({"text"}),
    heads=HEADS,
    objectives=("masked-tokens",),
    weights=(*encoder_rules(), *HUGGING_FACE_RULES),
    model_types=("xlm-roberta",),
    fixed_fields={},  # read_config looks at both layouts
    read_config=read_config,
    infer_from_shapes=ROBERTA_TABLES,
    infer_heads=class_counts,
    configured_heads=configured_heads,
    transformers=XLM_ROBERTA_FORM,
    notes=NOTES,
)

#: Sizes of the large models.
LARGE = {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096}

XLM_R_LARGE = Recipe(**{**vars(XLM_R_BASE), "name": "xlm-r-large", "sizes": LARGE})
