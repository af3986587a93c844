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
from mm_kptm.vision.modules.roi_regions import RoiRegions, roi_format
from mm_kptm.vision.recipes.pixels import PIXELS
from mm_kptm.vision.recipes.rois import ROIS


def frontend_name(settings: VisionSettings) -> str:
    """Name of the frontend: that of cells or that of boxes."""
    return ROIS.name if settings.regions == "boxes" else PIXELS.name


def frontend_sizes(settings: VisionSettings, recipe: Recipe) -> dict[str, Any]:
    """The sizes of the frontend: those of the settings, then those of the recipe, then the defaults.

    A ResNet for boxes is trained as a whole where its weights are fresh; otherwise the stem and the stage after it keep
    theirs, as published.
    """
    if settings.regions == "boxes":
        asked: dict[str, Any] = {
            "layers": _layers(settings),
            "trainable": settings.trainable,
            "freeze_batch_norm": settings.freeze_batch_norm,
        }
        if settings.file is None:
            asked["frozen"] = 0
    else:
        asked = {
            "backbone": settings.backbone,
            "size": settings.size or 0,
            "patch": settings.patch,
            "trainable": settings.trainable,
            "freeze_batch_norm": settings.freeze_batch_norm,
            "kernel": settings.kernel,
            "pool": settings.pool,
        }
    name = frontend_name(settings)
    given = {size: value for size, value in asked.items() if value is not None}
    return find_frontend(name).resolved_sizes({**recipe.frontends.get(name, {}), **given})


def published_frontends(settings: VisionSettings | None, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The frontends to take out of an official checkpoint: its convolutions, where the settings ask for their form."""
    if settings is None or not settings.backbone.startswith(CAFFE) or recipe.infer_frontends is None:
        return {}
    if settings.regions == "boxes":
        frozen = {"freeze_batch_norm": True} if settings.freeze_batch_norm else {}
        return {ROIS.name: {"trainable": settings.trainable, **frozen}}
    told_by_file = ("width",)
    return {PIXELS.name: {k: v for k, v in frontend_sizes(settings, recipe).items() if k not in told_by_file}}


def pixel_format(settings: VisionSettings, recipe: Recipe) -> PixelFormat:
    """How pictures become the pixels that the encoder reads.

    Raises:
        UserError: the recipe reads no regions, or there is no such backbone.
    """
    if "regions" not in recipe.reads:
        raise UserError(f"encoder.vision makes regions of pictures, but {recipe.name} reads no regions; leave it out")
    if settings.regions == "boxes":
        _layers(settings)
        return roi_format(settings.size, settings.longest)
    with torch.random.fork_rng(devices=[]):
        backbone = build_backbone(settings.backbone, size=settings.size, patch=settings.patch)
    return PixelFormat.of(backbone, longest=settings.longest, pool=frontend_sizes(settings, recipe)["pool"])


def add_vision(system: System, settings: VisionSettings, recipe: Recipe) -> None:
    """Put the backbone before the encoder, unless the system was loaded with it; its weights come from their file.

    Raises:
        UserError: the system was loaded with another backbone, or the weights do not fit.
    """
    name, sizes = frontend_name(settings), frontend_sizes(settings, recipe)
    if not system.frontends:
        add_frontend(system, name, sizes)
        if settings.file is not None:
            _load(system, settings)
        return
    if name not in system.frontends:
        raise UserError(
            f"encoder.weights holds {system.recipe} with regions of {' and '.join(map(_kind, system.frontends))}, but "
            f"encoder.vision.regions is {settings.regions}; ask for the same, or begin with other weights"
        )
    loaded = system.frontend_sizes[name]
    for size in ("layers",) if name == ROIS.name else ("backbone", "size", "patch", "kernel", "pool"):
        if sizes[size] != loaded[size]:
            raise UserError(
                f"encoder.weights holds {system.recipe} with a backbone whose {size} is {loaded[size]}, but "
                f"encoder.vision asks for {sizes[size]}; ask for the same, or begin with other weights"
            )


def _load(system: System, settings: VisionSettings) -> None:
    """Fill the backbone with the weights of its file."""
    if settings.file is None:
        return
    if settings.backbone != "patches" and not settings.file.is_file():
        raise UserError(
            f"encoder.vision.weights is {settings.file}, which is no file; give one of timm or torchvision, or `none` "
            "for fresh weights"
        )
    if settings.regions == "boxes":
        cast(RoiRegions, system.frontends[ROIS.name]).load(settings.file)
        return
    backbone = cast(PixelRegions, system.frontends[PIXELS.name]).backbone
    if not isinstance(backbone, TimmBackbone):
        raise UserError(
            f"{settings.backbone} are raw pixels and take no weights, but encoder.vision.weights is {settings.file}; "
            "leave it out"
        )
    backbone.load(settings.file)


def _kind(frontend: str) -> str:
    return {PIXELS.name: "cells", ROIS.name: "boxes"}.get(frontend, frontend)


def _layers(settings: VisionSettings) -> int:
    """Layers of the ResNet for boxes.

    Raises:
        UserError: another backbone, or settings that are of cells.
    """
    depth = settings.backbone.removeprefix(CAFFE)
    if not settings.backbone.startswith(CAFFE) or not depth.isdecimal():
        raise UserError(
            f"encoder.vision.regions is boxes, whose features a ResNet in Caffe's form computes, but backbone is "
            f"{settings.backbone}; take {CAFFE}50, {CAFFE}101 or {CAFFE}152"
        )
    cells = {"kernel": None, "pool": None, "patch": VisionSettings.patch}
    if odd := [name for name, usual in cells.items() if getattr(settings, name) != usual]:
        raise UserError(f"encoder.vision.{odd[0]} is of the cells of a grid, but regions is boxes; leave {odd[0]} out")
    return int(depth)
