"""Baidu's ERNIE: BERT with ReLU, pretrained by masking words, phrases and entities."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import BERT_FIELDS, embedding_rules, layer_rules, pair_classes, vocabulary_rules
from mm_kptm.recipes.roberta import masked_tokens
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Transpose


def ernie_baidu(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 18000,
    max_positions: int = 513,
    num_segments: int = 2,
    num_tasks: int = 0,
    activation: str = "relu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
) -> SingleStream:
    """Encoder of Sun et al. (2019, section 3.1); the defaults are the released Chinese base model.

    BERT with ReLU in place of GELU and eps 1e-5 in its norms; ERNIE 2.0 has task embeddings as well. Knowledge adds no
    parameter and no input: :mod:`mm_kptm.knowledge.objectives.knowledge_masking` defines what is masked together.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        num_tasks=num_tasks,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(text), layers, Pooler(dim), dim=dim)
    bert_init(encoder)
    return encoder


def _paddle(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of a linear layer, which Paddle stores as [in, out]."""
    return (Transpose(f"{theirs}.w_0", f"{ours}.weight"), Rename(f"{theirs}.b_0", f"{ours}.bias"))


def _paddle_norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (Rename(f"{theirs}_scale", f"{ours}.weight"), Rename(f"{theirs}_bias", f"{ours}.bias"))


_LAYER, _OURS = "encoder_layer_{i}", "encoder.layers.{i}"
_TEXT, _WORDS = "encoder.embed.text", "heads.masked-tokens"

#: Key rules of Baidu's own checkpoints.
PADDLE_RULES: tuple[Rule, ...] = (
    Rename("word_embedding", f"{_TEXT}.word.weight"),
    Rename("pos_embedding", f"{_TEXT}.position.weight"),
    Rename("sent_embedding", f"{_TEXT}.segment.weight"),
    *_paddle_norm("pre_encoder_layer_norm", f"{_TEXT}.norm"),
    *_paddle(f"{_LAYER}_multi_head_att_query_fc", f"{_OURS}.self_attention.attention.query"),
    *_paddle(f"{_LAYER}_multi_head_att_key_fc", f"{_OURS}.self_attention.attention.key"),
    *_paddle(f"{_LAYER}_multi_head_att_value_fc", f"{_OURS}.self_attention.attention.value"),
    *_paddle(f"{_LAYER}_multi_head_att_output_fc", f"{_OURS}.self_attention.attention.out_proj"),
    *_paddle_norm(f"{_LAYER}_post_att_layer_norm", f"{_OURS}.self_attention.norm"),
    *_paddle(f"{_LAYER}_ffn_fc_0", f"{_OURS}.ffn.up_proj"),
    *_paddle(f"{_LAYER}_ffn_fc_1", f"{_OURS}.ffn.down_proj"),
    *_paddle_norm(f"{_LAYER}_post_ffn_layer_norm", f"{_OURS}.ffn.norm"),
    *_paddle("pooled_fc", "encoder.pooler.dense"),
    *_paddle("mask_lm_trans_fc", f"{_WORDS}.transform.dense"),
    *_paddle_norm("mask_lm_trans_layer_norm", f"{_WORDS}.transform.norm"),
    Rename("mask_lm_out_fc.b_0", f"{_WORDS}.bias"),
    *_paddle("next_sent_fc", "heads.next-sentence"),
)


def embedded_tasks(config: Mapping[str, Any]) -> dict[str, int]:
    """How many tasks a configuration in Hugging Face's form says the model embeds."""
    if "use_task_id" not in config:
        return {}
    return {"num_tasks": config.get("task_type_vocab_size", 3) if config["use_task_id"] else 0}


_TASK = f"{_TEXT}.task.weight"

ERNIE_BAIDU_BASE = Recipe(
    name="ernie-baidu-base",
    family="ernie_baidu",
    paper="Sun et al. 2019, ERNIE: Enhanced Representation through Knowledge Integration, arXiv:1904.09223",
    build=ernie_baidu,
    model_types=("ernie", "bert"),
    reads=frozenset({"text"}),
    heads={"masked-tokens": masked_tokens, "next-sentence": pair_classes},
    objectives=("masked-tokens", "next-sentence"),
    objective_arguments={"next-sentence": {"next_class": 1}},
    weights=(
        Rename("[ernie.][bert.]embeddings.task_type_embeddings.weight", _TASK),
        Rename("task_embedding", _TASK),
        *embedding_rules("[ernie.][bert.]embeddings", _TEXT),
        Drop("[ernie.][bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("[ernie.][bert.]encoder.layer.{i}", _OURS),
        Rename("[ernie.][bert.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("ernie.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.next-sentence.{leaf}"),
        *PADDLE_RULES,
    ),
    config_keys=BERT_FIELDS,
    read_config=embedded_tasks,
    read_fields=frozenset({"use_task_id", "task_type_vocab_size"}),
    infer_from_shapes={
        "vocab_size": (f"{_TEXT}.word.weight", 0),
        "max_positions": (f"{_TEXT}.position.weight", 0),
        "num_segments": (f"{_TEXT}.segment.weight", 0),
        "num_tasks": (_TASK, 0),
    },
    notes=(
        "class 1 of next-sentence means that the second sentence follows, the inverse of BERT's",
        "the paper masks words, phrases and entities in stages; the released code has units and characters, and each "
        "data file says which: a stage is a file",
        "the released code draws one number for whether a unit is masked and how its first token is treated; "
        "mm_kptm.knowledge.objectives.knowledge_masking.one_draw_each reproduces it; the default draws are independent",
        "the paper's dialogue embeddings are not in the released model",
        "attention dropout equals the dropout of the states, as in the released configuration",
    ),
)
