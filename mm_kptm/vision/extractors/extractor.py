"""Protocol of extractors: image preprocessing in worker processes, and regions from prepared images.

Shapes: H x W the original image, h x w the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.vision.features.contract import FeatureContract
from mm_kptm.vision.features.detections import Detections

#: Preprocessing: RGB image on 0..255, [H, W, 3] -> network input, [3, h, w]; runs in worker processes.
Prepare = Callable[[NDArray[np.uint8]], Tensor]


@dataclass(frozen=True)
class Picture:
    """Preprocessed image with its name and original size."""

    name: str
    size: tuple[int, int]  #: width and height of the original
    prepared: Tensor  #: [3, h, w]


class Extractor(Protocol):
    """Extractor of region features."""

    @property
    def prepare(self) -> Prepare:
        """Preprocessing of an image, run by workers."""

    @property
    def contract(self) -> FeatureContract:
        """Contract: how the features are made."""

    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Regions of each image, without gradients."""
