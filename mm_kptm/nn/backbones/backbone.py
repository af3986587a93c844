"""What every backbone is: pictures to a grid of features; how pictures are prepared for it.

Shapes: B pictures of h x w pixels, H x W cells, F features of a cell, P pooled features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class ImageFormat:
    """Pictures as a backbone reads them: RGB on 0..1, minus ``mean``, divided by ``std``."""

    size: int  #: side of the square pictures that it was published with, in pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"  #: resampling filter: bilinear or bicubic


class Backbone(nn.Module, ABC):
    """Pictures to a grid of features.

    Attributes:
        dim: features of a cell, F.
        pooled_dim: features of a picture, P.
        stride: side of a cell, in pixels of the prepared picture.
        image_format: how pictures are prepared.
        any_size: whether pictures of other sizes than that of its format are read.
    """

    dim: int
    pooled_dim: int
    stride: int
    image_format: ImageFormat
    any_size: bool

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """The feature map of every picture, [B, 3, h, w] -> [B, H, W, F].

        Raises:
            UserError: the pictures have a size that it does not read.
        """

    def pooled(self, pixels: Tensor) -> Tensor:
        """One vector per picture, [B, 3, h, w] -> [B, P]: the mean of its cells unless the model pools otherwise."""
        return self(pixels).mean((1, 2))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map of a picture of ``height`` x ``width`` pixels, a begun cell counted as one."""
        return -(-height // self.stride), -(-width // self.stride)


def with_frozen_norms(module: M) -> M:
    """Keep the statistics of every BatchNorm of a module."""
    for part in module.modules():
        if isinstance(part, _NORMS):
            part.eval()
    return module
