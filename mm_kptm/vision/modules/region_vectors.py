"""The vector of a region from its feature and the waves of its box, and the vector of a whole image (VL-BERT).

Shapes: R regions, F width of their features, V width of the vectors, I images.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Layout, Regions
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import join
from mm_kptm.vision.embeddings import require_regions

WAVES = 256  #: frequencies, each with a sine and a cosine, of each of the four numbers of a box
BOX_DIM = 4 * 2 * WAVES


def box_waves(boxes: Tensor) -> Tensor:
    r"""Centre x, centre y, width and height of boxes [R, 4], each as 256 sines, then 256 cosines: [R, 2048].

    .. math:: \sin(100 c / 1000^{i/256}), \quad \cos(100 c / 1000^{i/256})

    of a coordinate c as a fraction of the image (Su et al. 2020, section 3.2, after Hu et al. 2018); the base is 1000,
    not the 10000 of positions in a text.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    described = torch.cat([(low + high) / 2, high - low], dim=1) * 100
    divisors = 1000 ** (torch.arange(WAVES, device=boxes.device, dtype=boxes.dtype) / WAVES)
    angles = described[..., None] / divisors
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)


class RegionVectors(nn.Module):
    r"""Box and feature in one projection (Su et al. 2020, section 3.2).

    .. math:: \mathrm{ReLU}(W [b; f])

    where b are the :func:`box_waves`, which stand in front. A hidden region has the learned row ``mask`` as its feature
    and keeps its box.

    Args:
        region_dim: F.
        dim: V.
        masked: whether there is a row for hidden regions.

    Raises:
        UserError: features of another width, boxes that are no fractions, or hidden regions where there is no row.
    """

    def __init__(self, region_dim: int, dim: int, *, masked: bool = True, dropout: float = 0.1) -> None:
        super().__init__()
        self.region_dim = region_dim
        self.project = nn.Linear(BOX_DIM + region_dim, dim)
        self.mask = nn.Parameter(torch.zeros(1, region_dim)) if masked else None
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The vector of every region, [R, V]."""
        require_regions(regions, self.region_dim)
        features = regions.features
        if regions.hidden is not None:
            if self.mask is None:
                raise UserError(
                    "regions are hidden here, but this model was built without rows that stand for hidden regions; "
                    "build it with masks_regions=True"
                )
            features = torch.where(regions.hidden[:, None], self.mask.to(features.dtype), features)
        described = torch.cat([box_waves(regions.boxes.to(features.dtype)), features], dim=1)
        return torch.relu(self.project(self.drop(described)))


class GivenVectors(nn.Module):
    """Regions whose features are vectors already, made by an extractor that is trained with the encoder.

    Args:
        dim: V.

    Raises:
        UserError: vectors of another width.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, regions: Regions) -> Tensor:
        """The vector of every region, [R, V]."""
        require_regions(regions, self.dim)
        return regions.features


def with_whole_images(regions: Regions) -> Regions:
    """The regions with one more in front of those of each image: the image itself, whose feature is their mean.

    Hidden regions do not count; the divisor is then their number plus 1e-5, as in the released code. What a detector
    says of regions is left behind, for the image has nothing of the kind.
    """
    features, images = regions.features, regions.layout
    owners = images.owners(features.device)
    keep = torch.ones_like(owners, dtype=features.dtype) if regions.hidden is None else (~regions.hidden).to(features)
    sums = features.new_zeros(len(images), features.shape[1]).index_add(0, owners, features * keep[:, None])
    counts = features.new_zeros(len(images)).index_add(0, owners, keep)
    means = sums / (counts.clamp(min=1) if regions.hidden is None else counts + 1e-5)[:, None]
    joint = join(Layout((1,) * len(images)), images, features.device)
    frame = regions.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(images), 4)
    hidden = None
    if regions.hidden is not None:
        hidden = joint.rows(regions.hidden.new_zeros(len(images)), regions.hidden)
    return replace(
        regions,
        features=joint.rows(means, features),
        boxes=joint.rows(frame, regions.boxes),
        layout=joint.layout,
        hidden=hidden,
        segments=None,
        classes=None,
        objects=None,
        attributes=None,
        words=None,
        geometry=None,
    )
