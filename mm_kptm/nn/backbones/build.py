"""Backbones by name."""

from __future__ import annotations

from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.backbone import Backbone
from mm_kptm.nn.backbones.caffe_resnet import WIDTH, CaffeBackbone
from mm_kptm.nn.backbones.patches import PatchBackbone
from mm_kptm.nn.backbones.timm_backbone import TimmBackbone

PATCHES = "patches"  #: name of the backbone without a network
CAFFE = "caffe-resnet"  #: beginning of the names of ResNets in the form of Caffe's weights, such as caffe-resnet50


def build_backbone(
    name: str,
    *,
    size: int | None = None,
    patch: int = 32,
    weights: Path | None = None,
    trainable: bool = True,
    freeze_batch_norm: bool = False,
    width: int = WIDTH,
) -> Backbone:
    """A backbone by name: any model of timm, ``caffe-resnet50`` (101, 152), or ``patches``.

    Args:
        name: in ``timm.list_models()``, with :data:`CAFFE` before it, or :data:`PATCHES`.
        size: side of the pictures in pixels; None: as published, 224 for patches.
        patch: side of a patch of ``patches``, in pixels.
        weights: a file of timm or torchvision; None: fresh weights.
        trainable: whether its parameters, and its BatchNorm statistics, are trained.
        freeze_batch_norm: whether BatchNorm keeps its statistics all the same.
        width: channels of the stem of a ``caffe-resnet``.

    Raises:
        UserError: there is no such backbone, it does not read that size, or the weights do not fit.
    """
    if name == PATCHES:
        if weights is not None:
            raise UserError(f"{PATCHES} are raw pixels and take no weights, but {weights} was given; leave it out")
        return PatchBackbone(size=size or 224, patch=patch)
    if name.startswith(CAFFE):
        if weights is not None:
            raise UserError(
                f"the weights of {name} come with the checkpoint of a whole system, but {weights} was given; leave it "
                "out, or take timm's backbone resnet50"
            )
        depth = name.removeprefix(CAFFE)
        return CaffeBackbone(
            int(depth) if depth.isdecimal() else 0,
            width=width,
            size=size or 600,
            trainable=trainable,
            freeze_batch_norm=freeze_batch_norm,
        )
    backbone = TimmBackbone(name, size=size, trainable=trainable, freeze_batch_norm=freeze_batch_norm)
    if weights is not None:
        backbone.load(weights)
    return backbone
