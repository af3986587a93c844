"""SigLIP as Hugging Face publishes it: names of its tensors as open_clip's, and its configuration.

Shapes: W width, P patches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.preparation import HALF

BACKBONE = "vit_base_patch16_siglip_224"  #: of timm; its sizes are replaced by those of a configuration
PROBE = "vision_model.head.probe"  #: the query of the attention pooling, which CLIP has not
PADDING = 1  #: the id that texts were filled up with in training: </s>
GEMMA_PIECES = 256000  #: of the tokenizer of SigLIP 2, whose padding is 0
TEXT_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
VISION_DEFAULTS: Mapping[str, Any] = {"patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}

_TEXT = {
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.head": "text.text_projection",
}
_TEXT_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TRUNK = "visual.trunk"
_VISION = {
    "vision_model.embeddings.patch_embedding": f"{_TRUNK}.patch_embed.proj",
    "vision_model.embeddings.position_embedding.weight": f"{_TRUNK}.pos_embed",
    "vision_model.post_layernorm": f"{_TRUNK}.norm",
    PROBE: f"{_TRUNK}.attn_pool.latent",
    "vision_model.head.attention.out_proj": f"{_TRUNK}.attn_pool.proj",
    "vision_model.head.layernorm": f"{_TRUNK}.attn_pool.norm",
    "vision_model.head.mlp.fc1": f"{_TRUNK}.attn_pool.mlp.fc1",
    "vision_model.head.mlp.fc2": f"{_TRUNK}.attn_pool.mlp.fc2",
}
_VISION_LAYER = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_POOLING = re.compile(r"vision_model\.head\.attention\.in_proj_(weight|bias)")
_PROJECTION = re.compile(r"self_attn\.([qkv])_proj")
_ROLES = "qkv"


def open_clip_names(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of transformers' ``SiglipModel`` under open_clip's names; tensors of other models as they are.

    Query, key and value of a layer become one tensor, those of the attention pooling a query and the other two, the
    position table [P, W] becomes [1, P, W]. Keys that SigLIP has not keep their names.
    """
    if PROBE not in tensors:
        return tensors
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if match := _LAYER.fullmatch(key):
            side, number, part, leaf = match.groups()
            if role := _PROJECTION.fullmatch(part):
                parts.setdefault(_joined(side, number, leaf), {})[role[1]] = tensor
                continue
            layer, names = _place(side, number)
            found[f"{layer}.{names[part]}.{leaf}" if part in names else key] = tensor
        elif match := _POOLING.fullmatch(key):
            leaf, width = match[1], len(tensor) // 3
            found[f"{_TRUNK}.attn_pool.q.{leaf}"] = tensor[:width]
            found[f"{_TRUNK}.attn_pool.kv.{leaf}"] = tensor[width:]
        elif key in ("logit_scale", "logit_bias"):
            found[key] = tensor.reshape(())
        elif not key.endswith("position_ids"):
            found[_renamed(key)] = tensor.unsqueeze(0) if key.startswith("vision_model.embeddings.pos") else tensor
    for name, three in parts.items():
        if len(three) < len(_ROLES):
            raise UserError(f"the checkpoint has {', '.join(sorted(three))} of {name}, but q, k and v were expected")
        found[name] = torch.cat([three[role] for role in _ROLES])
    return found


def _place(side: str, number: str) -> tuple[str, Mapping[str, str]]:
    if side == "text":
        return f"text.transformer.resblocks.{number}", _TEXT_LAYER
    return f"{_TRUNK}.blocks.{number}", _VISION_LAYER


def _joined(side: str, number: str, leaf: str) -> str:
    layer, _ = _place(side, number)
    return f"{layer}.attn.in_proj_{leaf}" if side == "text" else f"{layer}.attn.qkv.{leaf}"


def _renamed(key: str) -> str:
    names = {**_TEXT, **_VISION}
    if key in names:
        return names[key]
    stem, _, leaf = key.rpartition(".")
    return f"{names[stem]}.{leaf}" if stem in names else key


def read_siglip(config: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    """The builder's arguments from transformers' ``SiglipConfig``.

    Args:
        config: all of it.
        text: the fields of its text tower under open_clip's names.
        vision: those of its image tower.

    Raises:
        UserError: the towers end in other widths, or the image tower has no attention pooling.
    """
    given, shown = dict(config.get("text_config") or {}), dict(config.get("vision_config") or {})
    width = given.get("projection_size") or text["width"]
    if width != vision["width"]:
        raise UserError(
            f"SigLIP's image tower ends in its own width, {vision['width']}, but the text tower is projected to {width}"
        )
    if shown.get("vision_use_head", True) is not True:
        raise UserError("vision_use_head=False was asked for, but SigLIP's image tower ends in its attention pooling")
    trunk: dict[str, Any] = {
        "patch_size": vision["patch_size"],
        "embed_dim": vision["width"],
        "depth": vision["layers"],
        "num_heads": vision["width"] // vision["head_width"],
        "mlp_ratio": vision["mlp_ratio"],
        "act_layer": _activation(shown.get("hidden_act", "gelu_pytorch_tanh"), {"gelu_new": "gelu_tanh"}),
        "norm_eps": vision["norm_kwargs"]["eps"],
    }
    return {
        "embed_dim": width,
        "text": {
            **text,
            "activation": _activation(given.get("hidden_act", "gelu_pytorch_tanh"), {}),
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
            "pad_id": 0 if text["vocab_size"] == GEMMA_PIECES else PADDING,
        },
        "vision": {
            "timm_model_name": BACKBONE,
            "timm_pool": "map",
            "timm_proj": "none",
            "timm_model_kwargs": trunk,
            "image_size": vision["image_size"],
        },
        "logit_bias": -10.0,
        "image_mean": HALF,
        "image_std": HALF,
        "resize_mode": "squash",
    }


def _activation(name: str, names: Mapping[str, str]) -> str:
    ours = {"gelu_pytorch_tanh": "gelu_new"}.get(name, name)
    return names.get(ours, ours)


def padding_of(text: Mapping[str, Any]) -> dict[str, int]:
    """The field ``pad_id`` of an architecture of open_clip that reads SigLIP's first tokenizers, where it has none."""
    name = str(text.get("hf_tokenizer_name"))
    first = "SigLIP" in name and "SigLIP2" not in name
    return {"pad_id": PADDING} if first and "pad_id" not in text else {}
