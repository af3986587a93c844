"""ALIGN: EfficientNet and BERT, trained on noisy alternative texts of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.recipes.bert import BERT_FIELDS, NORM_AND_ATTENTION, bert, embedding_rules, layer_rules
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule
from mm_kptm.vision.contrastive.efficientnet import EfficientNet
from mm_kptm.vision.contrastive.preparation import HALF, ImagePreparation
from mm_kptm.vision.contrastive.published import nested_fields
from mm_kptm.vision.contrastive.similarity import DividedSimilarity
from mm_kptm.vision.contrastive.text_towers import TextTower, first_row
from mm_kptm.vision.contrastive.towers import DualTower


def align(
    *,
    embed_dim: int = 640,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    image_size: int = 289,
    image_mean: Sequence[float] = HALF,
    image_std: Sequence[float] = HALF,
    frozen: str = "none",
) -> DualTower:
    """The towers of Jia et al. (2021, section 4): EfficientNet-B7 and BERT-base, the sizes of the public weights.

    An image is its mean feature, without projection; a text the first state of BERT through a linear layer. ``vision``
    are arguments of :class:`~mm_kptm.vision.contrastive.efficientnet.EfficientNet`, ``text`` those of BERT.

    Raises:
        UserError: the features of the image tower are not ``embed_dim`` wide.
    """
    image, encoder = EfficientNet(**(vision or {})), bert(**(text or {}))
    if image.dim != embed_dim:
        raise UserError(
            f"the features of the image tower are {image.dim} wide and have no projection, so embed_dim must be "
            f"{image.dim}, not {embed_dim}"
        )
    return DualTower(
        image,
        TextTower(encoder, nn.Linear(encoder.dim, embed_dim), choose=first_row),
        DividedSimilarity(temperature),
        ImagePreparation(size=image_size, mean=image_mean, std=image_std),
        dim=embed_dim,
        frozen=frozen,
    )


_NETWORK = (
    "width_coefficient", "depth_coefficient", "depth_divisor", "in_channels", "out_channels", "kernel_sizes", "strides",
    "expand_ratios", "num_block_repeats", "depthwise_padding", "squeeze_expansion_ratio", "batch_norm_eps",
    "drop_connect_rate",
)  # fmt: skip


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`align` from Hugging Face's configuration.

    Raises:
        UserError: features are pooled otherwise than by their mean, or the activation is another one.
    """
    text, vision = dict(config.get("text_config") or {}), dict(config.get("vision_config") or {})
    if vision.get("pooling_type", "mean") != "mean" or vision.get("hidden_act", "swish") not in ("swish", "silu"):
        raise UserError(
            f"the image tower pools by {vision.get('pooling_type')} after {vision.get('hidden_act')}, but ALIGN's is "
            "built with mean and swish"
        )
    check_fields("align", text, nested_fields())
    names = BERT_FIELDS | NORM_AND_ATTENTION
    found: dict[str, Any] = {
        "text": {ours: text[theirs] for theirs, ours in names.items() if theirs in text},
        "vision": {name: vision[name] for name in _NETWORK if name in vision},
    }
    shown = {"projection_dim": "embed_dim", "temperature_init_value": "temperature"}
    return found | {ours: config[theirs] for theirs, ours in shown.items() if theirs in config}


_NORM = ("weight", "bias", "running_mean", "running_var")


def _normed(theirs: str, conv: str, norm: str, ours: str) -> tuple[Rule, ...]:
    """A convolution with its batch norm; position 0 of ours is the padding."""
    return (
        Rename(f"{theirs}.{conv}.weight", f"{ours}.1.weight"),
        *(Rename(f"{theirs}.{norm}.{leaf}", f"{ours}.2.{leaf}") for leaf in _NORM),
        Drop(f"{theirs}.{norm}.num_batches_tracked", because="counts batches, which running statistics do not need"),
    )


_BLOCK, _OURS = "vision_model.encoder.blocks.{i}", "encoder.image.blocks.{i}"

ALIGN = Recipe(
    name="align-base",
    family="align",
    paper="Jia et al. 2021, Scaling Up Visual and Vision-Language Representation Learning With Noisy Text Supervision, "
    "ICML, arXiv:2102.05918",
    build=align,
    reads=frozenset({"text", "images"}),
    objectives=("image-text-contrastive",),
    objective_arguments={"image-text-contrastive": {"label_smoothing": 0.1}},
    model_types=("align",),
    read_config=read_config,
    weights=(
        Rename("temperature", "encoder.similarity.temperature"),
        *embedding_rules("text_model.embeddings", "encoder.text.encoder.embed.text"),
        Drop("text_model.embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("text_model.encoder.layer.{i}", "encoder.text.encoder.layers.{i}"),
        Rename("text_model.pooler.dense.{leaf}", "encoder.text.encoder.pooler.dense.{leaf}"),
        Rename("text_projection.{leaf}", "encoder.text.projection.{leaf}"),
        *_normed("vision_model.embeddings", "convolution", "batchnorm", "encoder.image.stem"),
        *_normed(f"{_BLOCK}.expansion", "expand_conv", "expand_bn", f"{_OURS}.expansion"),
        *_normed(f"{_BLOCK}.depthwise_conv", "depthwise_conv", "depthwise_norm", f"{_OURS}.depthwise"),
        Rename(f"{_BLOCK}.squeeze_excite.{{way}}.{{leaf}}", f"{_OURS}.squeeze_excite.{{way}}.{{leaf}}"),
        *_normed(f"{_BLOCK}.projection", "project_conv", "project_bn", f"{_OURS}.projection"),
    ),
    notes=(
        "the public weights are a reproduction with EfficientNet-B7 and BERT-base; the paper has L2 and BERT-large",
        "cosines are divided by the temperature itself, which starts at 1 and is not bounded",
        "labels are smoothed by 0.1; batch norm has a momentum of 0.01, which published configurations give as "
        "0.99, TensorFlow's way to count",
    ),
)
