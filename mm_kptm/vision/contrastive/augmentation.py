"""Random views of pictures, as SimCLR and MoCo v2 draw them.

Every choice comes from the generator that is given, so that the same seed gives the same views.

Shapes: N images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.errors import UserError

ASPECTS = (3 / 4, 4 / 3)  #: width by height of a crop, as in Inception
ATTEMPTS = 10  #: draws of a crop before the largest one in the middle is taken


@dataclass(frozen=True)
class ViewAugmentation:
    """Crop, flip, change of colours, grey, blur; the defaults are SimCLR's (Chen et al. 2020, appendix A).

    Args:
        size: side of the views.
        least_area: smallest area of a crop, as a share of the picture.
        jitter: probability that colours change.
        brightness: largest relative change.
        contrast: the same.
        saturation: the same.
        hue: largest rotation, as a share of the circle.
        grey: probability of a grey view.
        blur: probability of a blurred view; its standard deviation is drawn between 0.1 and 2 pixels.

    Raises:
        UserError: a probability or the area lies outside [0, 1].
    """

    size: int = 224
    least_area: float = 0.08
    jitter: float = 0.8
    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    grey: float = 0.2
    blur: float = 0.5

    def __post_init__(self) -> None:
        for name in ("least_area", "jitter", "grey", "blur"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"{name} of a view is {value}, but must lie between 0 and 1")

    def __call__(self, pictures: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """One view of every picture, values in [0, 1]: each [3, height, width] -> [N, 3, size, size]."""
        if not len(pictures):
            return torch.zeros(0, 3, self.size, self.size)
        return torch.stack([self._view(picture, generator) for picture in pictures])

    def pair(self, pictures: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two independent views of every picture, each [N, 3, size, size]."""
        return self(pictures, generator), self(pictures, generator)

    def _view(self, picture: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms.v2 import functional as tv

        def draw(low: float = 0.0, high: float = 1.0) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        top, left, height, width = self._crop(picture.shape[1], picture.shape[2], draw)
        view = tv.resized_crop(picture, top, left, height, width, [self.size, self.size], antialias=True)
        if draw() < 0.5:
            view = view.flip(-1)
        if draw() < self.jitter:
            for number in torch.randperm(4, generator=generator).tolist():
                if number == 0:
                    view = tv.adjust_brightness(view, draw(max(0.0, 1 - self.brightness), 1 + self.brightness))
                elif number == 1:
                    view = tv.adjust_contrast(view, draw(max(0.0, 1 - self.contrast), 1 + self.contrast))
                elif number == 2:
                    view = tv.adjust_saturation(view, draw(max(0.0, 1 - self.saturation), 1 + self.saturation))
                else:
                    view = tv.adjust_hue(view, draw(-self.hue, self.hue))
        if draw() < self.grey:
            view = tv.rgb_to_grayscale(view, num_output_channels=3)
        if draw() < self.blur:
            kernel = 2 * (self.size // 20) + 1  # a tenth of the side, made odd
            view = tv.gaussian_blur(view, [kernel, kernel], [draw(0.1, 2.0)] * 2)
        return view.clamp(0, 1)

    def _crop(self, height: int, width: int, draw: Callable[..., float]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop of random area and aspect (Szegedy et al. 2015)."""
        for _ in range(ATTEMPTS):
            area = height * width * draw(self.least_area, 1.0)
            aspect = math.exp(draw(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
            wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < high <= height:
                return int(draw() * (height - high + 1)), int(draw() * (width - wide + 1)), high, wide
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side


#: The views of MoCo v2 (Chen et al. 2020, arXiv:2003.04297): larger crops and smaller changes of colour.
MOCO_V2 = ViewAugmentation(least_area=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
