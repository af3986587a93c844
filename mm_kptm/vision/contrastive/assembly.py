"""Assembly of two towers from the fields of their configurations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from torch import nn

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.discovery import catalogue, find
from mm_kptm.systems.encoder import Encoder
from mm_kptm.systems.recipe import Recipe
from mm_kptm.vision.contrastive.image_towers import image_tower
from mm_kptm.vision.contrastive.preparation import ImagePreparation
from mm_kptm.vision.contrastive.similarity import Similarity
from mm_kptm.vision.contrastive.text_towers import (
    RowChoice,
    TextTower,
    clip_text_encoder,
    end_row,
    first_row,
    largest_row,
    last_row,
)
from mm_kptm.vision.contrastive.towers import DualTower

#: Text encoders that open_clip takes from the hub, by what they are called here.
_HUB = {"roberta-base": "roberta-base", "xlm-roberta-base": "xlm-r-base", "xlm-roberta-large": "xlm-r-large"}
_POOLERS = {"mean_pooler": "mean", "max_pooler": "max", "cls_pooler": "pooled", "cls_last_hidden_state_pooler": "first"}
#: Fields that change tokenizers or outputs that are not read here.
_PASSED_OVER = frozenset(
    {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "output_tokens", "hf_model_pretrained"}
)
_CLIP_FIELDS = {
    "no_causal_mask",
    "pool_type",
    "eos_id",
    "pad_id",
    "proj_type",
    "proj_bias",
    "act_kwargs",
    "norm_kwargs",
}
_HF_FIELDS = {"hf_model_name", "hf_config", "hf_pooler_type", "hf_proj_type"}
_RECIPE_FIELDS = {"recipe", "sizes", "pooling", "projection"}


def dual_tower(
    *,
    embed_dim: int,
    vision: Mapping[str, Any],
    text: Mapping[str, Any],
    quick_gelu: bool,
    preparation: Mapping[str, Any],
    similarity: Similarity,
    frozen: str,
) -> DualTower:
    """Two towers from open_clip's fields, or the fields ``recipe``, ``sizes``, ``pooling``, ``projection`` of a text.

    Raises:
        UserError: a field, a backbone or a text encoder is unknown or cannot be built.
    """
    if text.get("hf_model_name") is not None and "recipe" not in text:
        _of_the_hub(text)  # what is not built is refused before an image tower is
    activation = "quick_gelu" if quick_gelu else "gelu"
    image_fields = {name: value for name, value in vision.items() if name not in ("activation", "act_kwargs")}
    image = image_tower(image_fields, embed_dim, activation=_activation(vision, activation))
    size = vision.get("image_size", 224)
    return DualTower(
        image,
        text_tower(text, embed_dim, activation=activation),
        similarity,
        ImagePreparation(size=int(size), **preparation),
        dim=embed_dim,
        frozen=frozen,
    )


def text_tower(text: Mapping[str, Any], embed_dim: int, *, activation: str) -> TextTower:
    """The text tower that a ``text_cfg`` of open_clip describes, or one around any text encoder of the catalogue.

    Raises:
        UserError: a field or the encoder is unknown.
    """
    text = {name: value for name, value in text.items() if name not in _PASSED_OVER}
    if "recipe" in text:
        _check(text, _RECIPE_FIELDS)
        return _of_recipe(text, embed_dim)
    if text.get("hf_config") is not None or text.get("hf_model_name") is not None:
        _check({name: text[name] for name in text if name.startswith("hf_")}, _HF_FIELDS)
        return _of_hub(text, embed_dim)
    return _of_clip(text, embed_dim, activation)


def _of_clip(text: Mapping[str, Any], embed_dim: int, activation: str) -> TextTower:
    sizes = {name for name in inspect.signature(clip_text_encoder).parameters if name not in ("causal", "norm_eps")}
    _check(text, _CLIP_FIELDS | sizes)
    chosen = {name: value for name, value in text.items() if name in sizes}
    causal = not text.get("no_causal_mask", False)
    chosen["activation"] = _activation(text, activation)
    eps = (text.get("norm_kwargs") or {}).get("eps", 1e-5)
    encoder = clip_text_encoder(**chosen, norm_eps=eps, causal=causal)
    choose = _row_choice(text.get("pool_type", "argmax"), text.get("eos_id", 2))
    projection: nn.Module = nn.Identity()
    if text.get("proj_type", "linear") != "none":
        projection = nn.Linear(encoder.dim, embed_dim, bias=bool(text.get("proj_bias", False)))
        nn.init.normal_(projection.weight, std=encoder.dim**-0.5)
    # without a causal mask, and pooled at the last place, padding was read as text
    length = None if causal else int(text.get("context_length", 77))
    return TextTower(encoder, projection, choose=choose, length=length, padding=int(text.get("pad_id", 0)))


def _of_the_hub(text: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The text encoder that a ``text_cfg`` names, and its sizes."""
    config, name = text.get("hf_config"), text.get("hf_model_name")
    if config is not None:
        kinds = [one for one in catalogue().values() if config.get("model_type") in one.model_types]
        kinds = [one for one in kinds if one.reads == {"text"}]
        if not kinds:
            raise UserError(f"no text encoder here reads configurations of the kind {config.get('model_type')!r}")
        plain = {"xlm-roberta": "xlm-r", "roberta": "roberta", "bert": "bert"}
        recipe = find(plain.get(config["model_type"], kinds[0].name))
        return recipe, recipe.configured_sizes(config)
    if name not in _HUB:
        raise UserError(
            f"the text tower is {name!r} of the hub, which is not built here; those that are: {', '.join(_HUB)}"
        )
    return find(_HUB[str(name)]), {"num_segments": 1}


def _of_hub(text: Mapping[str, Any], embed_dim: int) -> TextTower:
    recipe, sizes = _of_the_hub(text)
    pooling = text.get("hf_pooler_type", "mean_pooler")
    if pooling not in _POOLERS:
        raise UserError(f"hf_pooler_type is {pooling!r}, but must be one of {', '.join(_POOLERS)}")
    encoder = recipe.build(**recipe.resolved_sizes({"dropout": 0.0, **sizes}))
    return TextTower(
        encoder, projection(text.get("hf_proj_type", "mlp"), _width(encoder), embed_dim), pooling=_POOLERS[pooling]
    )


def _of_recipe(text: Mapping[str, Any], embed_dim: int) -> TextTower:
    recipe = find(str(text["recipe"]))
    if "text" not in recipe.reads:
        raise UserError(f"text.recipe is {recipe.name}, which reads {', '.join(sorted(recipe.reads))} and no text")
    encoder = recipe.build(**recipe.resolved_sizes(text.get("sizes", {})))
    head = projection(text.get("projection", "linear"), _width(encoder), embed_dim)
    languages = recipe.text.languages if "languages" in recipe.reads else ()
    return TextTower(encoder, head, pooling=str(text.get("pooling", "mean")), languages=languages)


def _width(encoder: nn.Module) -> int:
    return cast(Encoder, encoder).dim


def projection(kind: str | None, width: int, embed_dim: int) -> nn.Module:
    """A projection into the joint space: ``linear``, ``mlp`` (two layers, GELU between) or ``none``; without bias.

    Raises:
        UserError: the kind is unknown, or ``none`` and the widths differ.
    """
    if kind == "linear":
        return nn.Linear(width, embed_dim, bias=False)
    if kind == "mlp":
        hidden = (width + embed_dim) // 2
        return nn.Sequential(nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embed_dim, bias=False))
    if kind in ("none", None) and width == embed_dim:
        return nn.Identity()
    raise UserError(
        f"a projection from {width} to {embed_dim} is linear or mlp, not {kind!r}; none is for equal widths alone"
    )


def _activation(fields: Mapping[str, Any], default: str) -> str:
    given = str(fields.get("activation", default))
    return "gelu_new" if given == "gelu" and (fields.get("act_kwargs") or {}).get("approximate") == "tanh" else given


def _row_choice(pool_type: str, end: int) -> RowChoice:
    choices: dict[str, Callable[..., Any]] = {
        "argmax": largest_row,
        "eos": partial(end_row, end=end),
        "first": first_row,
        "last": last_row,
    }
    if pool_type not in choices:
        raise UserError(f"pool_type is {pool_type!r}, but a text tower knows {', '.join(choices)}")
    return choices[pool_type]


def _check(given: Mapping[str, Any], known: set[str]) -> None:
    for name, value in given.items():
        absent = value in (None, False) or (name == "block_type" and value == "default")
        if name not in known and not absent:
            raise UserError(
                f"the text tower has no {name}={value!r}"
                f"{nearest(name, known, otherwise='it has ' + ', '.join(sorted(known)))}"
            )
