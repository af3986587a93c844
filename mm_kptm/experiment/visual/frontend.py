"""The pixel frontend that ``encoder.vision`` puts before an encoder."""

from __future__ import annotations

from typing import Any, cast

import torch

from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import VisionSettings
from mm_kptm.nn.backbones import CAFFE, TimmBackbone, build_backbone
from mm_kptm.systems.assembly import add_frontend
from mm_kptm.systems.discovery import find_frontend
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.pixels import PixelFormat, PixelRegions
from mm_kptm.vision.recipes.pixels import PIXELS


def frontend_sizes(settings: VisionSettings, recipe: Recipe) -> dict[str, Any]:
    """The sizes of the frontend: those of the settings, then those of the recipe, then the defaults."""
    asked = {
        "backbone": settings.backbone,
        "size": settings.size or 0,
        "patch": settings.patch,
        "trainable": settings.trainable,
        "freeze_batch_norm": settings.freeze_batch_norm,
        "kernel": settings.kernel,
        "pool": settings.pool,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return find_frontend(PIXELS.name).resolved_sizes({**recipe.frontends.get(PIXELS.name, {}), **given})


def published_frontends(settings: VisionSettings | None, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The frontends to take out of an official checkpoint: its convolutions, where the settings ask for their form."""
    if settings is None or not settings.backbone.startswith(CAFFE) or recipe.infer_frontends is None:
        return {}
    told_by_file = ("width",)
    return {PIXELS.name: {k: v for k, v in frontend_sizes(settings, recipe).items() if k not in told_by_file}}


def pixel_format(settings: VisionSettings, recipe: Recipe) -> PixelFormat:
    """How pictures become the pixels that the encoder reads.

    Raises:
        UserError: the recipe reads no regions, or there is no such backbone.
    """
    if "regions" not in recipe.reads:
        raise UserError(f"encoder.vision makes regions of pictures, but {recipe.name} reads no regions; leave it out")
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(settings.backbone, size=settings.size, patch=settings.patch)
    return PixelFormat.of(backbone, longest=settings.longest, pool=frontend_sizes(settings, recipe)["pool"])


def add_vision(system: System, settings: VisionSettings, recipe: Recipe) -> None:
    """Put the backbone before the encoder, unless the system was loaded with it; its weights come from their file.

    Raises:
        UserError: the system was loaded with another backbone, or the weights do not fit.
    """
    sizes, loaded = frontend_sizes(settings, recipe), system.frontend_sizes.get(PIXELS.name)
    if loaded is None:
        add_frontend(system, PIXELS.name, sizes)
        if settings.file is not None:
            backbone = cast(PixelRegions, system.frontends[PIXELS.name]).backbone
            if not isinstance(backbone, TimmBackbone):
                raise UserError(
                    f"{settings.backbone} are raw pixels and take no weights, but encoder.vision.weights is "
                    f"{settings.file}; leave it out"
                )
            backbone.load(settings.file)
        return
    for name in ("backbone", "size", "patch", "kernel", "pool"):
        if sizes[name] != loaded[name]:
            raise UserError(
                f"encoder.weights holds {system.recipe} with a backbone whose {name} is {loaded[name]}, but "
                f"encoder.vision asks for {sizes[name]}; ask for the same, or begin with other weights"
            )
