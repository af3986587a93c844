"""Pictures as the pixels that an image tower reads: colour, size, crop and normalisation.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mm_kptm.errors import UserError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

ResizeMode = Literal["shortest", "squash"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class ImagePreparation:
    """The transform of evaluation; the defaults are CLIP's.

    Args:
        size: side of the square that is read.
        mean, std: per channel, of values between 0 and 1.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest``: the short side becomes ``size`` and the middle is cut out; ``squash``: both sides do.

    Raises:
        UserError: the interpolation or the mode is unknown.
    """

    size: int = 224
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS:
            raise UserError(f"pictures are resized by {' or '.join(_FILTERS)}, not by {self.interpolation!r}")
        if self.resize_mode not in ("shortest", "squash"):
            raise UserError(f"pictures are resized as shortest or squash, not as {self.resize_mode!r}")

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Normalised pixels, [N, 3, size, size]."""
        if not images:
            return torch.zeros(0, 3, self.size, self.size)
        pixels = np.stack([np.asarray(self._square(one.convert("RGB")), dtype=np.float32) for one in images])
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).div(255)
        return self.normalize(scaled)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Values between 0 and 1 [N, 3, height, width] by mean and standard deviation."""
        mean, std = (pixels.new_tensor(list(part)).view(3, 1, 1) for part in (self.mean, self.std))
        return (pixels - mean) / std

    def _square(self, image: Image.Image) -> Image.Image:
        if self.resize_mode == "squash":
            return image.resize((self.size, self.size), _FILTERS[self.interpolation])
        short = min(image.size)
        width, height = (self.size if side == short else int(self.size * side / short) for side in image.size)
        resized = image.resize((width, height), _FILTERS[self.interpolation])
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return resized.crop((left, top, left + self.size, top + self.size))
