"""Image backbones: models of timm, ResNets in the form of Caffe's weights, patches of raw pixels.

A backbone maps normalised pictures to a grid of features; its :class:`ImageFormat` says how they are prepared.
"""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.nn.backbones.backbone import Backbone, ImageFormat
    from mm_kptm.nn.backbones.build import CAFFE, PATCHES, build_backbone
    from mm_kptm.nn.backbones.caffe_resnet import CaffeBackbone, CaffeResNet
    from mm_kptm.nn.backbones.patches import PatchBackbone
    from mm_kptm.nn.backbones.timm_backbone import TimmBackbone
else:
    __getattr__ = lazy(
        __name__,
        {
            "backbone": ["Backbone", "ImageFormat"],
            "build": ["CAFFE", "PATCHES", "build_backbone"],
            "caffe_resnet": ["CaffeBackbone", "CaffeResNet"],
            "patches": ["PatchBackbone"],
            "timm_backbone": ["TimmBackbone"],
        },
    )

__all__ = [
    "CAFFE",
    "PATCHES",
    "Backbone",
    "CaffeBackbone",
    "CaffeResNet",
    "ImageFormat",
    "PatchBackbone",
    "TimmBackbone",
    "build_backbone",
]
