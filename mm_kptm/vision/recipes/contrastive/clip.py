"""CLIP: a vision transformer or ResNet beside a text transformer, and every two-tower architecture of open_clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.contrastive import published
from mm_kptm.vision.contrastive.assembly import dual_tower
from mm_kptm.vision.contrastive.key_maps import HUGGING_FACE_CLIP_RULES, OPEN_CLIP_RULES
from mm_kptm.vision.contrastive.preparation import CLIP_MEAN, CLIP_STD
from mm_kptm.vision.contrastive.siglip_names import open_clip_names
from mm_kptm.vision.contrastive.similarity import ScaledSimilarity
from mm_kptm.vision.contrastive.towers import DualTower

LOG_SCALE = 2.6592600369327783  #: log(1 / 0.07)


def clip(
    *,
    architecture: str = "ViT-B-32-quickgelu",
    embed_dim: int | None = None,
    vision: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    quick_gelu: bool | None = None,
    logit_scale: float | None = None,
    logit_bias: float | None = None,
    image_size: int | None = None,
    image_mean: Sequence[float] = CLIP_MEAN,
    image_std: Sequence[float] = CLIP_STD,
    interpolation: str = "bicubic",
    resize_mode: str = "shortest",
    frozen: str = "none",
) -> DualTower:
    """The two towers of Radford et al. (2021, section 2), by default ViT-B/32, in any architecture of open_clip.

    ``architecture`` is open_clip's name, such as ViT-L-14 or ViT-B-16-SigLIP; what else is given replaces a part of it:
    ``vision`` and ``text`` are fields of open_clip's ``vision_cfg`` and ``text_cfg``, ``logit_scale`` is the initial
    logarithm of the scale, ``logit_bias`` SigLIP's initial bias, ``image_size`` the side of the pictures. Without an
    architecture (an empty name) the given fields are all there is. A text tower with ``recipe`` is any text encoder of
    the catalogue, with its ``sizes``, ``pooling`` (first, mean, max, last, pooled) and ``projection`` (linear, mlp,
    none).
    """
    base = published.architecture(architecture) if architecture else {}
    changed_text = dict(text or {})
    text = changed_text if "recipe" in changed_text else {**base.get("text", {}), **changed_text}
    sized = {} if image_size is None else {"image_size": image_size}
    bias = base.get("logit_bias") if logit_bias is None else logit_bias
    scale = base.get("logit_scale", LOG_SCALE) if logit_scale is None else logit_scale
    return dual_tower(
        embed_dim=base.get("embed_dim", 512) if embed_dim is None else embed_dim,
        vision={**base.get("vision", {}), **(vision or {}), **sized},
        text=text,
        quick_gelu=base.get("quick_gelu", False) if quick_gelu is None else quick_gelu,
        preparation={
            "mean": image_mean,
            "std": image_std,
            "interpolation": interpolation,
            "resize_mode": resize_mode,
        },
        similarity=ScaledSimilarity(scale, bias),
        frozen=frozen,
    )


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`clip` from open_clip's configuration or Hugging Face's."""
    found = published.read_config(config)
    return {"architecture": "", **found} if found else {}


_NOTES = (
    "the state dict does not say whether the activation is QuickGELU; the architecture or a configuration does",
    "the image tower of a ResNet is open_clip's class, that of a timm architecture timm's; transformers are built here",
    "padding of texts is left out; the causal mask hides it from everything that is read",
    "the log of the scale is clamped to [0, log 100] before each training step, as after each one in open_clip",
    "CoCa and the text towers mT5 and NLLB are not built",
)

CLIP_VIT_B_32 = Recipe(
    name="clip-vit-b-32",
    family="clip",
    paper="Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, ICML, "
    "arXiv:2103.00020",
    build=clip,
    objectives=("image-text-contrastive",),
    pretraining_heads=(),
    reads=frozenset({"text", "images"}),
    weights=(*OPEN_CLIP_RULES, *HUGGING_FACE_CLIP_RULES),
    model_types=("clip",),
    read_config=read_config,
    convert_state=open_clip_names,
    text=TextFormat(tokenizer="clip"),
    notes=_NOTES,
)


def _named(name: str, architecture: str, **more: Any) -> Recipe:
    return Recipe(**{**vars(CLIP_VIT_B_32), "name": name, "sizes": {"architecture": architecture}, **more})


CLIP_VIT_B_16 = _named("clip-vit-b-16", "ViT-B-16-quickgelu")
CLIP_VIT_L_14 = _named("clip-vit-l-14", "ViT-L-14-quickgelu")
CLIP_VIT_L_14_336 = _named("clip-vit-l-14-336", "ViT-L-14-336-quickgelu")
CLIP_RN50 = _named("clip-rn50", "RN50-quickgelu")
CLIP_RN101 = _named("clip-rn101", "RN101-quickgelu")
CLIP_RN50X4 = _named("clip-rn50x4", "RN50x4-quickgelu")
CLIP_RN50X16 = _named("clip-rn50x16", "RN50x16-quickgelu")
CLIP_RN50X64 = _named("clip-rn50x64", "RN50x64-quickgelu")

OPEN_CLIP = _named(
    "open-clip",
    "ViT-B-32",
    family="open-clip",
    model_types=("clip", "siglip"),
    paper="Cherti et al. 2023, Reproducible Scaling Laws for Contrastive Language-Image Learning, CVPR, "
    "arXiv:2212.07143",
)
