"""Resizing of pictures for a network: to a square, or to a short side with their aspect ratio.

Shapes: H x W the original picture, h x w the resized one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mm_kptm.errors import UserError

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class ImageResize:
    """Resizing rule.

    Without ``longest``, pictures become squares. With it, the short side becomes ``size`` unless the long side would
    exceed ``longest``, and both sides are rounded down to multiples of ``multiple`` (Kim et al. 2021, released code).

    >>> ImageResize(384, longest=640, multiple=32).output_size(480, 640)
    (384, 512)
    >>> ImageResize(224).output_size(480, 640)
    (224, 224)

    Args:
        size: the side of a square, or the short side, in pixels.
        longest: longest side in pixels; None for squares.
        multiple: sides are multiples of this many pixels.
        interpolation: ``bilinear`` or ``bicubic``.

    Raises:
        UserError: the longest side is shorter than the short one, or a side is shorter than ``multiple``.
    """

    size: int
    longest: int | None = None
    multiple: int = 1
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size < self.multiple:
            raise UserError(f"pictures of {self.size} pixels are smaller than one cell of {self.multiple} pixels")
        if self.longest is not None and self.longest < self.size:
            raise UserError(f"the longest side is {self.longest} pixels, but the short one {self.size}; make it longer")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a resized picture."""
        if self.longest is None:
            return self.size, self.size
        scale = min(self.size / min(height, width), self.longest / max(height, width))
        return self._rounded(height * scale), self._rounded(width * scale)

    def _rounded(self, side: float) -> int:
        return max(int(side + 0.5) // self.multiple, 1) * self.multiple

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize, [H, W, 3] -> [h, w, 3]."""
        height, width = self.output_size(*picture.shape[:2])
        kind = FILTERS.get(self.interpolation, Image.Resampling.BICUBIC)
        return np.array(Image.fromarray(picture).resize((width, height), kind))
