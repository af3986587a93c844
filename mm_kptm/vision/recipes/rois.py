"""Given boxes read from pixels in place of region features, for every system that reads regions of that width."""

from __future__ import annotations

from typing import Any

from mm_kptm.errors import UserError
from mm_kptm.systems.recipe import Frontend, takes_sizes_of
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.roi_regions import RoiRegions


@takes_sizes_of(RoiRegions)
def roi_regions(system: System, **sizes: Any) -> RoiRegions:
    """A ResNet that computes the features of the boxes of the inputs; sizes as in :class:`RoiRegions`.

    Raises:
        UserError: the encoder reads regions of another width.
    """
    built = RoiRegions(**sizes)
    region_dim = int(system.sizes.get("region_dim", system.dim))
    if region_dim != built.dim:
        raise UserError(
            f"{system.recipe} reads regions of {region_dim} features, but this ResNet gives {built.dim}; build the "
            f"encoder with region_dim={built.dim}"
        )
    return built


ROIS = Frontend(
    name="rois",
    paper="Girshick 2015, Fast R-CNN, ICCV, arXiv:1504.08083; as in Su et al. 2020, VL-BERT, arXiv:1908.08530",
    build=roi_regions,
)
