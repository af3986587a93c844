"""Pixel-BERT: one BERT over a text and the cells of its image's feature map, without a detector."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.backbones.build import CAFFE
from mm_kptm.nn.backbones.caffe_resnet import depth_of
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier, Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    NORM_AND_ATTENTION,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.keymap import TranslatedState
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, drop_prefix
from mm_kptm.vision.modules.assembly import TextThenRegions
from mm_kptm.vision.modules.single_stream.grid_features import CellEmbedding

M = TypeVar("M", bound=nn.Module)


@takes_norm_eps
def pixel_bert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    max_rows: int = 100,
    max_columns: int = 100,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Huang et al. (2020, figure 2) as the public re-implementation has it.

    It reads precomputed feature maps, ``dim`` wide, as the regions of
    :func:`~mm_kptm.vision.modules.single_stream.grid_features.cells_of`.
    """
    text = TextEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    cells = CellEmbedding(dim, max_rows=max_rows, max_columns=max_columns, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = _fresh(SingleStream(TextThenRegions(text, cells), layers, Pooler(dim), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def vqa(encoder: SingleStream, *, num_answers: int = 3129) -> Classifier:
    """Logits of all answers from the pooled state, through one ReLU layer without a norm."""
    head = Classifier(encoder.dim, num_answers, activation="relu")
    head.transform.norm = nn.Identity()
    return _fresh(head)


def _fresh(module: M) -> M:
    bert_init(module)
    return module


def _infer_frontends(translation: TranslatedState, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sizes of the convolutions of a checkpoint that was trained end to end."""
    del config
    stem = translation.tensors.get(f"{_CELLS}.conv1.weight")
    if stem is None:
        return {}
    context = [key for key in translation.left if ".context_block." in key]
    if context:
        raise UserError(
            f"the convolutions of this checkpoint have global context blocks ({context[0]}), but pixel-bert is built "
            "without; load it without frontends and give finished feature maps"
        )
    blocks = sum(name.startswith(f"{_CELLS}.layer3.") for name in translation.tensors if "bn3.weight" in name)
    layers = depth_of(blocks)
    if layers is None:
        raise UserError(
            f"the third stage of the convolutions has {blocks} blocks, but those of 50, 101 and 152 layers have 6, 23 "
            "and 36; load it without frontends and give finished feature maps"
        )
    detectron = any(key.startswith("cnn.feature.") for key in translation.placed)
    sizes = {"backbone": f"{CAFFE}{layers}", "width": stem.shape[0], "freeze_batch_norm": detectron}
    return {"pixels": sizes}


def _blocks(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Residual blocks by the names of detectron2, whose norms are part of their convolutions."""
    return (
        *(Rename(f"{theirs}.{{i}}.conv{k}.weight", f"{ours}.{{i}}.conv{k}.weight") for k in (1, 2, 3)),
        *(Rename(f"{theirs}.{{i}}.conv{k}.norm.{{leaf}}", f"{ours}.{{i}}.bn{k}.{{leaf}}") for k in (1, 2, 3)),
        Rename(f"{theirs}.{{i}}.shortcut.weight", f"{ours}.{{i}}.downsample.0.weight"),
        Rename(f"{theirs}.{{i}}.shortcut.norm.{{leaf}}", f"{ours}.{{i}}.downsample.1.{{leaf}}"),
    )


def _plain_blocks(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Residual blocks by the names of torchvision."""
    parts = [f"{kind}{k}" for kind in ("conv", "bn") for k in (1, 2, 3)]
    return (
        *(Rename(f"{theirs}.{{i}}.{part}.{{leaf}}", f"{ours}.{{i}}.{part}.{{leaf}}") for part in parts),
        Rename(f"{theirs}.{{i}}.downsample.{{k}}.{{leaf}}", f"{ours}.{{i}}.downsample.{{k}}.{{leaf}}"),
    )


_COUNTED = "norms are saved with their statistics, without the count of batches"
_CELLS = "frontends.pixels.backbone.model"
#: The two forms of the re-implementation: a detector of detectron2 whose heads are not read, and a plain ResNet.
_CNN = (
    *(
        Drop(f"cnn.{below}num_batches_tracked", because=_COUNTED)
        for below in ("{a}.", "{a}.{b}.{c}.", "{a}.{b}.{c}.{d}.")
    ),
    Rename("cnn.feature.backbone.stem.conv1.weight", f"{_CELLS}.conv1.weight"),
    Rename("cnn.feature.backbone.stem.conv1.norm.{leaf}", f"{_CELLS}.bn1.{{leaf}}"),
    *(rule for n in (1, 2, 3) for rule in _blocks(f"cnn.feature.backbone.res{n + 1}", f"{_CELLS}.layer{n}")),
    *_blocks("cnn.feature.roi_heads.res5", f"{_CELLS}.layer4"),
    Rename("cnn.conv1.weight", f"{_CELLS}.conv1.weight"),
    Rename("cnn.bn1.{leaf}", f"{_CELLS}.bn1.{{leaf}}"),
    *(rule for n in (1, 2, 3, 4) for rule in _plain_blocks(f"cnn.stage{n}", f"{_CELLS}.layer{n}")),
    Rename("cnn.grid_encoder.0.weight", "frontends.pixels.project.weight"),
    *drop_prefix("cnn", because="neither the detector's heads nor context blocks are part of the map of features"),
)
_PIXELS = "[transformer.]bert.visual_embeddings"

PIXEL_BERT_BASE = Recipe(
    name="pixel-bert-base",
    family="pixel-bert",
    paper="Huang et al. 2020, Pixel-BERT: Aligning Image Pixels with Text by Deep Multi-Modal Transformers, "
    "arXiv:2004.00849",
    build=pixel_bert,
    model_types=("bert",),
    reads=frozenset({"text", "regions"}),
    heads={"masked-tokens": masked_tokens, "image-text-matching": pair_classes, "vqa": vqa},
    objectives=("masked-tokens", "image-text-matching"),
    weights=(
        *embedding_rules("[transformer.]bert.embeddings", "encoder.embed.text"),
        Drop("[transformer.]bert.embeddings.position_ids", because="a buffer that counts from 0"),
        Rename(f"{_PIXELS}.row_position_embeddings.weight", "encoder.embed.regions.row.weight"),
        Rename(f"{_PIXELS}.col_position_embeddings.weight", "encoder.embed.regions.column.weight"),
        Rename(f"{_PIXELS}.token_type_embeddings.weight", "encoder.embed.regions.kind.weight"),
        Rename(f"{_PIXELS}.LayerNorm.{{leaf}}", "encoder.embed.regions.norm.{leaf}"),
        Drop(f"{_PIXELS}.position_embeddings.weight", because="the re-implementation never reads this table"),
        *layer_rules("[transformer.]bert.encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("[transformer.]bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        *vocabulary_rules("transformer.bert.embeddings.word_embeddings.weight", "transformer.cls"),
        Rename("transformer.cls.seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        Rename("[transformer.]classifier.0.{leaf}", "heads.vqa.transform.dense.{leaf}"),
        Rename("[transformer.]classifier.2.{leaf}", "heads.vqa.out.{leaf}"),
        *_CNN,
    ),
    config_keys={
        **BERT_FIELDS,
        **NORM_AND_ATTENTION,
        "max_grid_row_position_embeddings": "max_rows",
        "max_grid_col_position_embeddings": "max_columns",
    },
    infer_frontends=_infer_frontends,
    infer_from_shapes={
        "num_segments": ("encoder.embed.text.segment.weight", 0),
        "max_rows": ("encoder.embed.regions.row.weight", 0),
        "max_columns": ("encoder.embed.regions.column.weight", 0),
    },
    frontends={"pixels": {"backbone": "resnet50", "kernel": 3, "pool": 2}},
    notes=(
        "no official code is public: names, positions of rows and columns and the sampling follow the re-"
        "implementation zezeze97/pixelbert; the paper gives pixels one shared row and no position",
        "class 1 of image-text-matching means that text and image belong together",
        "pretraining sees 100 random cells of every image (mm_kptm.vision.objectives.random_pixel_sampling), "
        "all else all",
        "the convolutions of a checkpoint, a ResNet of detectron2 or a plain one, are built with frontends=['pixels'] "
        "and read BGR on 0..255 minus the means; without, maps come finished, pooled to 1/64 of the picture, dim wide",
    ),
)
