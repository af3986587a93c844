"""Visual feature embedding of regions and whole images (VL-BERT).

Shapes: R regions, F width of their features, V width of the vectors, I images.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import join
from mm_kptm.vision.boxes import sinusoidal_boxes
from mm_kptm.vision.modules.embeddings import require_regions

NUM_FREQUENCIES = 256  #: published number of frequencies of each of the four numbers of a box


def box_dim(num_frequencies: int = NUM_FREQUENCIES) -> int:
    """Width of a box: a sine and a cosine of each frequency of its four numbers."""
    return 4 * 2 * num_frequencies


class VisualFeatureEmbedding(nn.Module):
    r"""Box and feature in one projection (Su et al. 2020, section 3.2).

    .. math:: \mathrm{ReLU}(W [b; f])

    where b are the :func:`sinusoidal_boxes`. The feature of a masked region is the learned vector ``mask``; its box is
    kept.

    Args:
        region_dim: F.
        dim: V.
        num_frequencies: of each number of a box.
        masked: whether there is a vector for masked regions.

    Raises:
        UserError: features of another width, boxes that are not fractions, or masked regions where there is no row.
    """

    def __init__(
        self,
        region_dim: int,
        dim: int,
        *,
        num_frequencies: int = NUM_FREQUENCIES,
        masked: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.region_dim = region_dim
        self.num_frequencies = num_frequencies
        self.project = nn.Linear(box_dim(num_frequencies) + region_dim, dim)
        self.mask = nn.Parameter(torch.zeros(1, region_dim)) if masked else None
        self.drop = nn.Dropout(dropout)

    def forward(self, regions: Regions) -> Tensor:
        """The vector of every region, [R, V]."""
        require_regions(regions, self.region_dim)
        features = regions.features
        if regions.masked is not None:
            if self.mask is None:
                raise UserError(
                    "regions are masked here, but this model was built without rows that stand for masked regions; "
                    "build it with masks_regions=True"
                )
            features = torch.where(regions.masked[:, None], self.mask.to(features.dtype), features)
        boxes = sinusoidal_boxes(regions.boxes.to(features.dtype), self.num_frequencies)
        described = torch.cat([boxes, features], dim=1)
        return torch.relu(self.project(self.drop(described)))


class PrecomputedFeatures(nn.Module):
    """Regions whose features are already embedded, by an extractor that is trained with the encoder.

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


def with_whole_image(regions: Regions) -> Regions:
    """Prepend the whole image to the regions of each image, with ``regions.whole_image`` or the mean of their features.

    Masked regions are left out of the mean; the divisor is then their number plus 1e-5, as in the released code.
    Detector outputs are dropped, because the whole image has none.

    Raises:
        UserError: ``regions.whole_image`` has not one feature per image.
    """
    features, images = regions.features, regions.layout
    whole = _means(regions) if regions.whole_image is None else regions.whole_image
    if whole.shape != (len(images), features.shape[1]):
        raise UserError(
            f"there are {len(images)} images with regions of {features.shape[1]} features, but whole_image has the "
            f"shape {list(whole.shape)}"
        )
    joint = join(SequenceLayout((1,) * len(images)), images, features.device)
    frame = regions.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(images), 4)
    hidden = None
    if regions.masked is not None:
        hidden = joint.rows(regions.masked.new_zeros(len(images)), regions.masked)
    return replace(
        regions,
        features=joint.rows(whole, features),
        boxes=joint.rows(frame, regions.boxes),
        layout=joint.layout,
        masked=hidden,
        whole_image=None,
        segments=None,
        classes=None,
        objects=None,
        attributes=None,
        words=None,
        geometry=None,
    )


def _means(regions: Regions) -> Tensor:
    """The mean of the features of the regions of each image that are not masked, [I, F]."""
    features, images = regions.features, regions.layout
    owners = images.sequence_ids(features.device)
    keep = torch.ones_like(owners, dtype=features.dtype) if regions.masked is None else (~regions.masked).to(features)
    sums = features.new_zeros(len(images), features.shape[1]).index_add(0, owners, features * keep[:, None])
    counts = features.new_zeros(len(images)).index_add(0, owners, keep)
    return sums / (counts.clamp(min=1) if regions.masked is None else counts + 1e-5)[:, None]
