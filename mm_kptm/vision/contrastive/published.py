"""Configurations of open_clip and of Hugging Face's CLIP as the arguments of one builder.

Both become ``embed_dim``, the fields of an image tower (``vision``) and those of a text tower (``text``), under
open_clip's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.published_fields import STANDARD, check_fields
from mm_kptm.vision.contrastive.siglip_names import TEXT_DEFAULTS, VISION_DEFAULTS, padding_of, read_siglip

_HF_TEXT = {
    "vocab_size": ("vocab_size", 49408),
    "hidden_size": ("width", 512),
    "num_hidden_layers": ("layers", 12),
    "num_attention_heads": ("heads", 8),
    "max_position_embeddings": ("context_length", 77),
    "hidden_act": ("activation", "quick_gelu"),
}
_HF_VISION = {
    "hidden_size": ("width", 768),
    "num_hidden_layers": ("layers", 12),
    "image_size": ("image_size", 224),
    "patch_size": ("patch_size", 32),
    "hidden_act": ("activation", "quick_gelu"),
}
_LEGACY_END = 2  #: an eos_token_id that old configurations give and that no token has: the largest id is meant
_PREPROCESSING = {
    "mean": "image_mean",
    "std": "image_std",
    "interpolation": "interpolation",
    "resize_mode": "resize_mode",
}


def architecture(name: str) -> dict[str, Any]:
    """The builder's arguments for an architecture of open_clip, from the package's own configurations.

    Raises:
        UserError: open_clip has no such architecture.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise UserError(f"open_clip has no architecture {name!r}{nearest(name, open_clip.list_models())}")
    return read_open_clip(config)


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The builder's arguments from a published configuration, open_clip's or Hugging Face's."""
    if "model_cfg" in config:
        shown = {
            _PREPROCESSING[name]: value
            for name, value in config.get("preprocess_cfg", {}).items()
            if name in _PREPROCESSING
        }
        return {**read_open_clip(config["model_cfg"]), **shown}
    if "vision_cfg" in config:
        return read_open_clip(config)
    return read_hugging_face(config) if "vision_config" in config else {}


def read_open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    """The builder's arguments from open_clip's fields.

    Raises:
        UserError: the architecture has a third tower.
    """
    if "multimodal_cfg" in config:
        raise UserError(
            "CoCa's text decoder was asked for, which two towers do not have; load the image and text tower alone with "
            "a configuration without multimodal_cfg"
        )
    text = dict(config["text_cfg"])
    found = {"embed_dim": config["embed_dim"], "vision": dict(config["vision_cfg"]), "text": text | padding_of(text)}
    found["quick_gelu"] = bool(config.get("quick_gelu", False))
    if config.get("init_logit_bias") is not None:
        found["logit_bias"] = float(config["init_logit_bias"])
    if config.get("init_logit_scale") is not None:
        found["logit_scale"] = float(config["init_logit_scale"])
    return found


def read_hugging_face(config: Mapping[str, Any]) -> dict[str, Any]:
    """The builder's arguments from the fields of transformers' ``CLIPConfig`` or ``SiglipConfig``."""
    given = dict(config.get("text_config") or {})
    if config.get("model_type") == "siglip":
        shown = hugging_face_vision({**VISION_DEFAULTS, **(config.get("vision_config") or {})})
        return read_siglip(config, _tower({**TEXT_DEFAULTS, **given}, _HF_TEXT), shown)
    text = _tower(given, _HF_TEXT)
    end = given.get("eos_token_id", 49407)
    if end != _LEGACY_END:
        text |= {"pool_type": "eos", "eos_id": end}
    vision = hugging_face_vision(config.get("vision_config") or {})
    return {"embed_dim": config.get("projection_dim", 512), "text": text, "vision": vision}


def hugging_face_vision(given: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's fields of the image tower from transformers' ``CLIPVisionConfig``."""
    vision = _tower(given, _HF_VISION)
    return {**vision, "head_width": vision["width"] // given.get("num_attention_heads", 12)}


def nested_fields() -> dict[str, Sequence[Any]]:
    """What the configuration of one tower may ask for beside its sizes; the eps of its norms is read."""
    return {name: values for name, values in STANDARD.items() if name != "layer_norm_eps"}


def _tower(given: Mapping[str, Any], names: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    check_fields("clip", given, nested_fields())
    fields = {ours: given.get(theirs, default) for theirs, (ours, default) in names.items()}
    hidden = given.get("intermediate_size", 4 * fields["width"])
    fields["mlp_ratio"] = (hidden + 0.5) / fields["width"]  # half a unit more: the product is cut to a whole number
    fields["norm_kwargs"] = {"eps": given.get("layer_norm_eps", 1e-5)}
    return fields
