"""Boxes as numbers that a model can read.

Everywhere in the suite a box is x1, y1, x2, y2 as fractions of its image; what else a system wants is derived here.

Shapes: R regions.
"""

import torch
from torch import Tensor

from mm_kptm.errors import UserError


def corners_size_area(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2, width, height, area of boxes [R, 4]: [R, 7] (Chen et al. 2020, section 3.1)."""
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes, size, size[:, :1] * size[:, 1:]], dim=1)


def sinusoidal_boxes(boxes: Tensor, num_frequencies: int = 256) -> Tensor:
    r"""Centre x, centre y, width and height of boxes [R, 4], each as N sines, then N cosines: [R, 8 N].

    .. math:: \sin(100 c / 1000^{i/N}), \quad \cos(100 c / 1000^{i/N})

    of a coordinate c as a fraction of the image (Su et al. 2020, section 3.2, after Hu et al. 2018); the base is 1000,
    not the 10000 of positions in a text.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    percent = torch.cat([(low + high) / 2, high - low], dim=1) * 100
    wave_lengths = 1000 ** (torch.arange(num_frequencies, dtype=boxes.dtype, device=boxes.device) / num_frequencies)
    angles = percent[..., None] / wave_lengths  # [R, 4, N]
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)


def thousandths(boxes: Tensor) -> Tensor:
    """Boxes [R, 4] as whole numbers from 0 to 1000, cut off, not rounded (Xu et al. 2020, LayoutLM, released code)."""
    return (boxes * 1000 + 1e-4).long()  # the fraction is not exact in float32


def corners_and_share(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2 and the share of the image that boxes [R, 4] cover: [R, 5] (Qi et al. 2020, ImageBERT)."""
    return torch.cat([boxes, corners_size_area(boxes)[:, 6:]], dim=1)


def require_fractions(boxes: Tensor) -> None:
    """Refuse boxes in pixels; looked at on the CPU only, where it does not hold anything up.

    Raises:
        UserError: a coordinate lies far outside the image.
    """
    # detectors may overshoot the border a little; pixels overshoot it by far
    if not boxes.is_cuda and len(boxes) and (largest := float(boxes.max())) > 2.0:
        raise UserError(
            f"boxes are x1 y1 x2 y2 as fractions of the image, but one has a coordinate of {largest:g}; "
            "divide x by the width and y by the height of the image"
        )
