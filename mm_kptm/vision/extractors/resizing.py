"""Preprocessing of detectors: means subtracted first, then resized by the short side.

Shapes: H x W the original image, h x w the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class ShortSide:
    """Resize rule: the short side gets ``short`` pixels, unless the long side would exceed ``long``."""

    short: int = 600
    long: int = 1000

    def scale(self, height: int, width: int) -> float:
        """Pixels of the network's input per pixel of the original image."""
        small, large = min(height, width), max(height, width)
        scale = self.short / small
        return self.long / large if round(scale * large) > self.long else scale


def caffe_input(picture: NDArray[np.uint8], resize: ShortSide, means: tuple[float, ...]) -> tuple[Tensor, float]:
    """Input of the bottom-up detector, [3, h, w] in the colour order of the image, and its scale.

    Args:
        picture: BGR on 0..255, [H, W, 3].
        resize: rule for the size.
        means: of the three channels, subtracted before resizing.
    """
    centred = torch.from_numpy(picture.astype(np.float32) - np.array(means, dtype=np.float32)).permute(2, 0, 1)
    scale = resize.scale(*picture.shape[:2])
    high, wide = (round(side * scale) for side in picture.shape[:2])
    return _stretched(_stretched(centred, wide, scale).mT, high, scale).mT.contiguous(), scale


def _stretched(lines: Tensor, length: int, scale: float) -> Tensor:
    """Resample the last dimension to ``length`` values by OpenCV's rule for ``fx=scale``, [..., length].

    The exact scale is used, not that of the rounded length, and positions are float64: in float32, as in
    ``torch.nn.functional.interpolate``, values differ by up to 5e-4.
    """
    last = lines.shape[-1] - 1
    at = (torch.arange(length, dtype=torch.float64) + 0.5) / scale - 0.5
    low = at.floor()
    weight = torch.where((low < 0) | (low >= last), 0.0, at - low).float()
    rows = low.long().clamp(0, last)
    return lines[..., rows] * (1 - weight) + lines[..., (rows + 1).clamp_max(last)] * weight
