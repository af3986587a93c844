"""Given boxes read from pixels in place of region features, for every system that reads regions of that width."""

from __future__ import annotations

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.caffe_resnet import WIDTH
from mm_kptm.systems.recipe import Frontend
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.roi_regions import RoiRegions


def roi_regions(
    system: System,
    *,
    layers: int = 101,
    width: int = WIDTH,
    stride_in_1x1: bool = True,
    dilated: bool = True,
    trainable: bool = True,
    frozen: int = 2,
    freeze_batch_norm: bool = True,
) -> RoiRegions:
    """A ResNet that computes the features of the boxes of the inputs; sizes as in :class:`RoiRegions`.

    Raises:
        UserError: the encoder reads regions of another width.
    """
    region_dim = int(system.sizes.get("region_dim", system.dim))
    if region_dim != 32 * width:
        raise UserError(
            f"{system.recipe} reads regions of {region_dim} features, but this ResNet gives {32 * width}; build the "
            f"encoder with region_dim={32 * width}"
        )
    return RoiRegions(
        layers=layers,
        width=width,
        stride_in_1x1=stride_in_1x1,
        dilated=dilated,
        trainable=trainable,
        frozen=frozen,
        freeze_batch_norm=freeze_batch_norm,
    )


ROIS = Frontend(
    name="rois",
    paper="Girshick 2015, Fast R-CNN, ICCV, arXiv:1504.08083; as in Su et al. 2020, VL-BERT, arXiv:1908.08530",
    build=roi_regions,
)
