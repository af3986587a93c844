"""What every extractor is: it prepares a picture in a worker process and turns prepared pictures into regions.

Shapes: H x W a picture, h x w the network's input.
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

#: A picture, red, green, blue on 0..255, [H, W, 3], as the network takes it, [3, h, w]; runs in worker processes.
Prepare = Callable[[NDArray[np.uint8]], Tensor]


@dataclass(frozen=True)
class Picture:
    """A prepared picture and what it was."""

    name: str
    size: tuple[int, int]  #: width and height of the original
    prepared: Tensor  #: [3, h, w]


class Extractor(Protocol):
    """An extractor of region features."""

    @property
    def prepare(self) -> Prepare:
        """What workers do with a picture."""

    @property
    def contract(self) -> FeatureContract:
        """How the features are made."""

    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Regions of each picture, without a gradient."""
