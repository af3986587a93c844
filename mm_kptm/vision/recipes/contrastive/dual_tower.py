"""Two towers of one's own: any image tower beside any text encoder of the catalogue, trained by contrast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.recipes.bert import embedding_rules, layer_rules
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rule
from mm_kptm.vision.contrastive.assembly import dual_tower, text_tower
from mm_kptm.vision.contrastive.key_maps import timm_rules
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD, ImagePreparation
from mm_kptm.vision.contrastive.region_tower import RegionTower
from mm_kptm.vision.contrastive.similarity import ScaledSimilarity
from mm_kptm.vision.contrastive.towers import DualTower
from mm_kptm.vision.contrastive.two_queues import TwoQueues

LOG_SCALE = 2.6592600369327783  #: log(1 / 0.07)
_BESIDE_SIZES = ("recipe", "pooling", "projection")


def towers(
    *,
    embed_dim: int = 512,
    image: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    vocab_size: int | None = None,
    image_size: int = 224,
    logit_scale: float = LOG_SCALE,
    logit_bias: float | None = None,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    frozen: str = "none",
) -> DualTower:
    """Two towers that read pixels and text; the defaults are ResNet-50 of timm and BERT-base.

    ``image`` has a ``backbone`` of timm, or fields of a vision transformer (``patch_size``, ``width``, ``layers``,
    ``head_width``). ``text`` has a ``recipe`` of the catalogue, ``pooling`` (first, mean, max, last, pooled),
    ``projection`` (linear, mlp, none) and sizes of that recipe. ``logit_bias`` makes the loss SigLIP's. ``frozen`` is
    the tower that keeps its weights.

    Raises:
        UserError: a name or a size is unknown.
    """
    fields = {"backbone": "resnet50"} if image is None else dict(image)
    if "backbone" in fields:
        fields = {"timm_model_name": fields.pop("backbone"), **fields}
    return dual_tower(
        embed_dim=embed_dim,
        vision={**fields, "image_size": image_size},
        text=_text(text, vocab_size),
        quick_gelu=False,
        preparation={"mean": image_mean, "std": image_std},
        similarity=ScaledSimilarity(logit_scale, logit_bias),
        frozen=frozen,
    )


def towers_over_regions(
    *,
    embed_dim: int = 512,
    region_dim: int = 2048,
    image: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    vocab_size: int | None = None,
    logit_scale: float = LOG_SCALE,
    logit_bias: float | None = None,
    frozen: str = "none",
) -> DualTower:
    """Two towers that read region features and text.

    ``image`` are arguments of :class:`~mm_kptm.vision.contrastive.region_tower.RegionTower` (``width``, ``layers``,
    ``heads``, ``mlp_ratio``); all else as in :func:`towers`.
    """
    return DualTower(
        RegionTower(region_dim, embed_dim, **(image or {})),
        text_tower(_text(text, vocab_size), embed_dim, activation="gelu"),
        ScaledSimilarity(logit_scale, logit_bias),
        ImagePreparation(),
        dim=embed_dim,
        frozen=frozen,
    )


def two_queues(encoder: DualTower, *, queue_size: int = 1024) -> TwoQueues:
    """Key towers and queues, for the objective ``two-queue-contrast``."""
    return TwoQueues(encoder, queue_size=queue_size)


def _text(given: Mapping[str, Any] | None, vocab_size: int | None) -> dict[str, Any]:
    """The fields of a text tower: sizes of its recipe apart from what says how it is read."""
    text = {"recipe": "bert-base", **(given or {})}
    recipe = find(str(text["recipe"]))
    if "text" not in recipe.reads or "images" in recipe.reads:
        raise UserError(
            f"text.recipe is {recipe.name}, which reads {', '.join(sorted(recipe.reads))}; a text tower reads text, "
            "such as bert-base or xlm-r-base"
        )
    sizes = {name: value for name, value in text.items() if name not in _BESIDE_SIZES}
    if vocab_size is not None:
        sizes = {"vocab_size": vocab_size, **sizes}
    chosen = {name: text[name] for name in _BESIDE_SIZES if name in text}
    return {**chosen, "sizes": sizes}


_ENCODER = "encoder.text.encoder"

#: Names of a backbone of timm behind ``image.``, and of a text encoder of BERT's form behind ``text.``.
PARTS: tuple[Rule, ...] = (
    *(
        Drop(f"image.{name}.{{leaf}}", because="scores the classes that the backbone was trained on")
        for name in ("classifier", "fc", "head", "head.fc")
    ),
    *timm_rules("image", "encoder.image.trunk"),
    *embedding_rules("text.[bert.]embeddings", f"{_ENCODER}.embed.text"),
    Drop("text.[bert.]embeddings.position_ids", because="a buffer that counts from 0"),
    *layer_rules("text.[bert.]encoder.layer.{i}", f"{_ENCODER}.layers.{{i}}"),
    Drop("text.[bert.]pooler.dense.{leaf}", because="the pooling of a tower is one of its sizes"),
)

DUAL_TOWER = Recipe(
    name="dual-tower",
    family="dual-tower",
    paper="Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, ICML, "
    "arXiv:2103.00020; any tower in place of the published ones",
    build=towers,
    model_types=("dual-tower",),
    reads=frozenset({"text", "images"}),
    heads={"two-queues": two_queues},
    objectives=("image-text-contrastive",),
    pretraining_heads=(),
    weights=PARTS,
    notes=(
        "no checkpoint of the whole is published; a backbone of timm fills the image tower under the prefix `image.`, "
        "a checkpoint of BERT's form the text tower under `text.`",
    ),
)

DUAL_TOWER_REGIONS = Recipe(
    **{
        **vars(DUAL_TOWER),
        "name": "dual-tower-regions",
        "family": "dual-tower-regions",
        "build": towers_over_regions,
        "reads": frozenset({"text", "regions"}),
        "weights": (),
        "notes": ("no checkpoint is published; towers begin fresh or are filled from saved systems",),
    }
)
