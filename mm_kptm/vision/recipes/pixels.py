"""Pixels in place of region features, for every system that reads regions."""

from __future__ import annotations

from mm_kptm.nn.backbones import build_backbone
from mm_kptm.nn.backbones.caffe_resnet import WIDTH
from mm_kptm.systems.recipe import Frontend
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.pixels import PixelRegions


def pixel_regions(
    system: System,
    *,
    backbone: str = "resnet50",
    size: int = 0,
    patch: int = 32,
    kernel: int = 0,
    pool: int = 1,
    trainable: bool = True,
    freeze_batch_norm: bool = False,
    width: int = WIDTH,
) -> PixelRegions:
    """A backbone whose cells are the regions of a system.

    Args:
        system: whose encoder reads them.
        backbone: any model of timm, ``caffe-resnet50`` (101, 152), or ``patches``.
        size: side of the pictures in pixels; 0: as published.
        patch: side of a patch of ``patches``, in pixels.
        kernel: side of the convolution to the width that the encoder reads; 0: one of 1 where the widths differ.
        pool: cells that are max-pooled, along each side.
        trainable: whether the backbone is trained.
        freeze_batch_norm: whether its BatchNorm keeps its statistics all the same.
        width: channels of the stem of a ``caffe-resnet``.
    """
    built = build_backbone(
        backbone,
        size=size or None,
        patch=patch,
        trainable=trainable,
        freeze_batch_norm=freeze_batch_norm,
        width=width,
    )
    region_dim = int(system.sizes.get("region_dim", system.dim))
    return PixelRegions(built, region_dim=region_dim, kernel=kernel or int(built.dim != region_dim), pool=pool)


PIXELS = Frontend(
    name="pixels",
    paper="Huang et al. 2020, Pixel-BERT: Aligning Image Pixels with Text by Deep Multi-Modal Transformers, "
    "arXiv:2004.00849; Kim et al. 2021, ViLT: Vision-and-Language Transformer Without Convolution or Region "
    "Supervision, ICML, arXiv:2102.03334 (patches)",
    build=pixel_regions,
)
