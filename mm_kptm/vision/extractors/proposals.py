"""Region proposals of bottom-up attention (Anderson et al. 2018), based on Faster R-CNN (Ren et al. 2015).

Corners are inclusive pixels: a box from 0 to 3 has width 4.

Shapes: A anchors per cell, H x W cells, N boxes, P proposals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms


@dataclass(frozen=True)
class ProposalRule:
    """Hyperparameters of the proposal layer; the defaults are those of the released detector."""

    stride: int = 16  #: input pixels per cell
    scales: tuple[float, ...] = (4, 8, 16, 32)  #: sides of the anchors, in strides
    ratios: tuple[float, ...] = (0.5, 1, 2)  #: height over width
    before_nms: int = 6000  #: boxes before NMS
    after_nms: int = 300  #: boxes after NMS
    nms: float = 0.7  #: IoU threshold
    min_size: float = 16  #: smallest side, in pixels of the original image


def anchors(rule: ProposalRule) -> Tensor:
    """Anchor boxes of the first cell, ratios in the outer loop and scales in the inner one, [A, 4].

    >>> anchors(ProposalRule(ratios=(1,), scales=(4,)))
    tensor([[-24., -24.,  39.,  39.]])
    """
    middle = (rule.stride - 1) / 2
    ratios = torch.tensor(rule.ratios, dtype=torch.float64)
    width = (rule.stride**2 / ratios).sqrt().round()
    size = torch.stack([width, (width * ratios).round()], dim=1)  # sides are rounded before scaling
    sizes = (size[:, None] * torch.tensor(rule.scales, dtype=torch.float64)[:, None]).flatten(0, 1)
    half = (sizes - 1) / 2
    return torch.cat([middle - half, middle + half], dim=1).float()


def decode(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Apply regression ``deltas`` (dx, dy, log dw, log dh; not clamped) to boxes, both [N, 4]."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    middle = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    half = 0.5 * size * deltas[:, 2:].exp()
    return torch.cat([middle - half, middle + half], dim=1)


def inclusive(boxes: Tensor) -> Tensor:
    """Convert inclusive corners to edges, [N, 4], so that torchvision's areas and IoU include the +1."""
    return boxes + boxes.new_tensor([0, 0, 1, 1])


def propose(
    foreground: Tensor, deltas: Tensor, image: tuple[float, float], scale: float, rule: ProposalRule
) -> tuple[Tensor, Tensor]:
    """Best proposals of an image after NMS.

    Args:
        foreground: object probability of each anchor, [A, H, W].
        deltas: box regression of each anchor, [4 A, H, W].
        image: height and width of the network's input.
        scale: pixels of the network's input per pixel of the original image.
        rule: hyperparameters of the layer.

    Returns:
        Boxes in input pixels by decreasing probability, [P, 4], and their probabilities, [P].
    """
    count, height, width = foreground.shape
    device = foreground.device
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4) * rule.stride
    placed = (anchors(rule).to(device) + shifts).reshape(-1, 4)  # cells outside, anchors inside
    moved = decode(placed, deltas.reshape(count, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4))
    scores = foreground.permute(1, 2, 0).reshape(-1)
    high, wide = image
    limit = moved.new_tensor([wide - 1, high - 1, wide - 1, high - 1])
    moved = torch.minimum(moved.clamp_min(0), limit)
    large = ((moved[:, 2:] - moved[:, :2] + 1) >= rule.min_size * scale).all(dim=1)
    moved, scores = moved[large], scores[large]
    best = scores.argsort(descending=True, stable=True)[: rule.before_nms]
    moved, scores = moved[best], scores[best]
    selected = nms(inclusive(moved), scores, rule.nms)[: rule.after_nms]
    return moved[selected], scores[selected]
