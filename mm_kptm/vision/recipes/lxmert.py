"""LXMERT: a language encoder and an object encoder, joined by cross-modality layers."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier, Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.steps import CrossStep, SelfStep, Step
from mm_kptm.nn.sublayers import attention_sublayer, bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    activation_of,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import BERT_EPS
from mm_kptm.systems.published_fields import STANDARD
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename, head_rows
from mm_kptm.vision.modules.assembly import TextBesideRegions
from mm_kptm.vision.modules.embeddings import MeanRegionEmbedding
from mm_kptm.vision.modules.heads import ObjectScores, PooledPairs
from mm_kptm.vision.recipes.head_sizes import rows_of

M = TypeVar("M", bound=nn.Module)


def lxmert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 9,
    num_region_layers: int = 5,
    num_cross_layers: int = 5,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    region_dim: int = 2048,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> TwoStream:
    """The encoder of Tan and Bansal (2019, figure 1); ``num_layers`` counts those of the text."""

    def layer() -> nn.Module:
        return bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout)

    def steps() -> Iterator[tuple[str, Step]]:
        for i in range(num_layers):
            yield f"text-{i}", SelfStep(layer(), None)
        for i in range(num_region_layers):
            yield f"regions-{i}", SelfStep(None, layer())
        for i in range(num_cross_layers):
            both = attention_sublayer(dim, num_heads, dropout=dropout)  # one set of weights for the two directions
            yield f"cross-{i}", CrossStep(both, both)
            yield f"after-{i}", SelfStep(layer(), layer())

    text = TextEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    regions = MeanRegionEmbedding(region_dim, dim, dropout=dropout)
    embed = TextBesideRegions(text, regions, region_dim=region_dim)
    encoder = _fresh(TwoStream(embed, steps(), Pooler(dim), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_objects(encoder: TwoStream, *, num_objects: int = 1600, num_attributes: int = 400) -> ObjectScores:
    """Head for object, attribute and feature of every region (Tan and Bansal 2019, section 3.1.2).

    Objects and attributes are those of the detector of Anderson et al. (2018), without a background class.
    """
    region_dim = submodule(encoder, "embed", TextBesideRegions).region_dim
    head = ObjectScores(
        encoder.dim,
        num_objects=num_objects,
        num_attributes=num_attributes,
        region_dim=region_dim,
        activation=activation_of(encoder),
    )
    return _fresh(head)


def question_answering(encoder: TwoStream, *, num_answers: int = 9500) -> Classifier:
    """Logits of the answers of all pretraining questions from the pooled state (Tan and Bansal 2019, section 3.1.3)."""
    return _fresh(Classifier(encoder.dim, num_answers))


def vqa(encoder: TwoStream, *, num_answers: int = 3129) -> Classifier:
    """Logits of all answers from the pooled state; GQA is the same with its own answers."""
    return _fresh(Classifier(encoder.dim, num_answers))


def nlvr2(encoder: TwoStream, *, num_classes: int = 2) -> PooledPairs:
    """False (0) or true (1) of a text about two images, from the two pooled states."""
    return _fresh(PooledPairs(encoder.dim, num_classes=num_classes))


def _fresh(module: M) -> M:
    bert_init(module)
    return module


#: Key prefixes of the encoder: none, that of pretraining, that of fine-tuned models.
_BERT = "[lxrt_encoder.model.][bert.][lxmert.]"
_CROSS = f"{_BERT}encoder.x_layers.{{i}}"
_BOTH = "encoder.steps.cross-{i}.left"


def _after_rules(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of the self-attention and feed-forward of one side of a cross-modality layer."""
    return (
        Rename(f"{theirs}_self_att.self.{{role}}.{{leaf}}", f"{ours}.self_attention.attention.{{role}}.{{leaf}}"),
        Rename(f"{theirs}_self_att.output.dense.{{leaf}}", f"{ours}.self_attention.attention.out_proj.{{leaf}}"),
        Rename(f"{theirs}_self_att.output.LayerNorm.{{leaf}}", f"{ours}.self_attention.norm.{{leaf}}"),
        Rename(f"{theirs}_inter.dense.{{leaf}}", f"{ours}.ffn.up_proj.{{leaf}}"),
        Rename(f"{theirs}_output.dense.{{leaf}}", f"{ours}.ffn.down_proj.{{leaf}}"),
        Rename(f"{theirs}_output.LayerNorm.{{leaf}}", f"{ours}.ffn.norm.{{leaf}}"),
    )


def _answer_rules(theirs: str, *heads: str) -> tuple[OneOf, ...]:
    """Key renamings of a published ``Sequential`` of dense, activation, norm, dense."""
    parts = (("0", "transform.dense"), ("2", "transform.norm"), ("3", "out"))
    return tuple(
        OneOf(f"{theirs}.{number}.{{leaf}}", tuple(f"heads.{head}.{ours}.{{leaf}}" for head in heads))
        for number, ours in parts
    )


LXMERT_BASE = Recipe(
    name="lxmert-base",
    family="lxmert",
    paper="Tan and Bansal 2019, LXMERT: Learning Cross-Modality Encoder Representations from Transformers, EMNLP, "
    "arXiv:1908.07490",
    build=lxmert,
    model_types=("lxmert", "bert"),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "image-text-matching": pair_classes,
        "masked-objects": masked_objects,
        "question-answering": question_answering,
        "vqa": vqa,
        "nlvr2": nlvr2,
    },
    objectives=("masked-tokens", "image-text-matching", "masked-objects", "question-answering"),
    weights=(
        *embedding_rules(f"{_BERT}embeddings", "encoder.embed.text"),
        Drop(f"{_BERT}embeddings.position_ids", because="a buffer that counts from 0"),
        Rename(f"{_BERT}encoder.visn_fc.visn_fc.{{leaf}}", "encoder.embed.regions.feature.{leaf}"),
        Rename(f"{_BERT}encoder.visn_fc.visn_layer_norm.{{leaf}}", "encoder.embed.regions.feature_norm.{leaf}"),
        Rename(f"{_BERT}encoder.visn_fc.box_fc.{{leaf}}", "encoder.embed.regions.box.{leaf}"),
        Rename(f"{_BERT}encoder.visn_fc.box_layer_norm.{{leaf}}", "encoder.embed.regions.box_norm.{leaf}"),
        *layer_rules(f"{_BERT}encoder.layer.{{i}}", "encoder.steps.text-{i}.left"),
        *layer_rules(f"{_BERT}encoder.r_layers.{{i}}", "encoder.steps.regions-{i}.right"),
        Rename(
            f"{_CROSS}.visual_attention.att.{{role}}.{{leaf}}", "encoder.steps.cross-{i}.left.attention.{role}.{leaf}"
        ),
        Rename(
            f"{_CROSS}.visual_attention.output.dense.{{leaf}}", "encoder.steps.cross-{i}.left.attention.out_proj.{leaf}"
        ),
        Rename(f"{_CROSS}.visual_attention.output.LayerNorm.{{leaf}}", f"{_BOTH}.norm.{{leaf}}"),
        *_after_rules(f"{_CROSS}.lang", "encoder.steps.after-{i}.left"),
        *_after_rules(f"{_CROSS}.visn", "encoder.steps.after-{i}.right"),
        Rename(f"{_BERT}pooler.dense.{{leaf}}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        Rename("obj_predict_head.transform.dense.{leaf}", "heads.masked-objects.transform.dense.{leaf}"),
        Rename("obj_predict_head.transform.LayerNorm.{leaf}", "heads.masked-objects.transform.norm.{leaf}"),
        Rename("obj_predict_head.decoder_dict.obj.{leaf}", "heads.masked-objects.objects.{leaf}"),
        Rename("obj_predict_head.decoder_dict.attr.{leaf}", "heads.masked-objects.attributes.{leaf}"),
        Rename("obj_predict_head.decoder_dict.feat.{leaf}", "heads.masked-objects.features.{leaf}"),
        *_answer_rules("answer_head.logit_fc", "question-answering"),
        *_answer_rules("logit_fc", "vqa", "nlvr2"),
    ),
    config_keys={
        **{theirs: ours for theirs, ours in BERT_FIELDS.items() if ours not in ("num_layers", "norm_eps")},
        "l_layers": "num_layers",
        "r_layers": "num_region_layers",
        "x_layers": "num_cross_layers",
        "visual_feat_dim": "region_dim",
        "attention_probs_dropout_prob": "attention_dropout",
    },
    read_fields=frozenset({"num_hidden_layers"}),  # a sum of the others
    fixed_fields={**STANDARD, "visual_pos_dim": (4,), "layer_norm_eps": (BERT_EPS,)},
    infer_heads=rows_of(
        {
            "vqa": {"num_answers": "out.bias"},
            "question-answering": {"num_answers": "out.bias"},
            "masked-objects": {"num_objects": "objects.bias", "num_attributes": "attributes.bias"},
        },
        more_than={"vqa": 2},
    ),
    infer_from_shapes={
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
    },
    head_starts={"vqa": head_rows("question-answering", "transform.")},
    notes=(
        "a fine-tuned file calls the head of every task logit_fc: load NLVR2 with heads=['nlvr2'] and GQA with "
        "heads={'vqa': {'num_answers': N}}",
        "num_hidden_layers of a published configuration is not used; l_layers, r_layers and x_layers are",
        "the released code gives row 0 of the word, position and segment tables no gradient; here all rows learn",
        "text without regions, or regions without text, is no case of the paper: what would be read is zero",
    ),
)
