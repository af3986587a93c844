"""AltCLIP: the image tower of CLIP with XLM-R as text tower, for texts in many languages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mm_kptm.recipes.bert import embedding_rules, layer_rules
from mm_kptm.recipes.roberta import roberta
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename
from mm_kptm.vision.contrastive.image_towers import image_tower
from mm_kptm.vision.contrastive.key_maps import hugging_face_vision_rules
from mm_kptm.vision.contrastive.preparation import CLIP_MEAN, CLIP_STD, ImagePreparation
from mm_kptm.vision.contrastive.published import hugging_face_vision
from mm_kptm.vision.contrastive.similarity import ScaledSimilarity
from mm_kptm.vision.contrastive.text_towers import TextTower, first_row
from mm_kptm.vision.contrastive.towers import DualTower

VIT_L_14 = {"layers": 24, "width": 1024, "patch_size": 14, "activation": "quick_gelu"}
XLM_R_LARGE = {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096, "num_segments": 1}


def altclip(
    *,
    embed_dim: int = 768,
    text_dim: int = 768,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    norm_eps: float = 1e-5,
    logit_scale: float = 2.6592,
    image_mean: Sequence[float] = CLIP_MEAN,
    image_std: Sequence[float] = CLIP_STD,
    frozen: str = "none",
) -> DualTower:
    """The towers of Chen et al. (2022, section 3.1): ViT-L/14 and XLM-R large.

    The first state of a text is normed, brought to ``text_dim``, the width of the teacher, and projected. ``vision``
    has the fields of a ``vision_cfg`` of open_clip, ``text`` sizes of XLM-R.
    """
    fields: dict[str, Any] = dict(VIT_L_14 if vision is None else vision)
    encoder = roberta(**{"vocab_size": 250002, **(XLM_R_LARGE if text is None else text)})
    head = nn.Sequential(
        OrderedDict(
            norm=nn.LayerNorm(encoder.dim, eps=norm_eps),
            transformation=nn.Linear(encoder.dim, text_dim),
            projection=nn.Linear(text_dim, embed_dim, bias=False),
        )
    )
    activation = str(fields.get("activation", "quick_gelu"))
    shown = {name: value for name, value in fields.items() if name != "activation"}
    return DualTower(
        image_tower(shown, embed_dim, activation=activation),
        TextTower(encoder, head, choose=first_row),
        ScaledSimilarity(logit_scale),
        ImagePreparation(size=int(shown.get("image_size", 224)), mean=image_mean, std=image_std),
        dim=embed_dim,
        frozen=frozen,
    )


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`altclip` from Hugging Face's configuration."""
    text = dict(config.get("text_config") or {})
    found: dict[str, Any] = {}
    if text:
        known = {name: value for name, value in text.items() if name != "model_type"}
        found = {"text": find("xlm-r").configured_sizes(known), "text_dim": text.get("project_dim", 768)}
        found["norm_eps"] = text.get("layer_norm_eps", 1e-5)
    if "vision_config" in config:
        found["vision"] = hugging_face_vision(config["vision_config"])
    shown = {"projection_dim": "embed_dim", "logit_scale_init_value": "logit_scale"}
    return found | {ours: config[theirs] for theirs, ours in shown.items() if theirs in config}


_TEXT, _OURS = "text_model.roberta", "encoder.text.encoder"

ALTCLIP = Recipe(
    name="altclip",
    family="altclip",
    paper="Chen et al. 2022, AltCLIP: Altering the Language Encoder in CLIP for Extended Language Capabilities, "
    "Findings of ACL 2023, arXiv:2211.06679",
    build=altclip,
    objectives=("image-text-contrastive",),
    reads=frozenset({"text", "images"}),
    model_types=("altclip",),
    read_config=read_config,
    weights=(
        Rename("logit_scale", "encoder.similarity.log_scale"),
        *hugging_face_vision_rules(),
        *embedding_rules(f"{_TEXT}.embeddings", f"{_OURS}.embed.text"),
        Drop(f"{_TEXT}.embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules(f"{_TEXT}.encoder.layers.{{i}}", f"{_OURS}.layers.{{i}}"),
        *layer_rules(f"{_TEXT}.encoder.layer.{{i}}", f"{_OURS}.layers.{{i}}"),
        Drop(f"{_TEXT}.pooler.dense.{{leaf}}", because="the first state is read as it is"),
        Rename("text_model.pre_LN.{leaf}", "encoder.text.projection.norm.{leaf}"),
        Rename("text_model.transformation.{leaf}", "encoder.text.projection.transformation.{leaf}"),
        Rename("text_projection.weight", "encoder.text.projection.projection.weight"),
    ),
    notes=("the text tower was taught by CLIP's in a first stage, on parallel texts, and tuned on images in a second",),
)
