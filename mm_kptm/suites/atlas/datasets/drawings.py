"""Drawings of Atlas as the images of captions: styles drawn at random in training, changed a little, as pixels.

Shapes: P concepts, S styles, N images of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mm_kptm.batch import Images, Inputs
from mm_kptm.compression.objectives.image_similarity_distillation import ImageSimilarityDistillation
from mm_kptm.preprocessing.inputs import IntArray
from mm_kptm.suites.atlas.data.atlas import Atlas
from mm_kptm.suites.atlas.data.drawings import Pixels
from mm_kptm.vision.contrastive.preparation import ImagePreparation

TURN, SHIFT, SCALE = math.radians(10), 0.1, (0.85, 1.1)
TINT, GREY, MIRRORED = 0.2, 0.1, 0.5


@dataclass(frozen=True, eq=False)
class Drawings:
    """Drawings of concepts in one or more styles.

    Args:
        sheets: the drawings of every style.
        places: where each concept stands in each sheet, -1 where it is not drawn, [P, S].
        preparation: mean, standard deviation and size of the pixels.
        augment: whether drawings are changed where a generator is given.
        numbers: of the drawings that training may show, by concept and style, [P, S]; None: they are not numbered.
    """

    sheets: tuple[Pixels, ...]
    places: IntArray
    preparation: ImagePreparation
    augment: bool = True
    numbers: IntArray | None = None

    @classmethod
    def of(
        cls, atlas: Atlas, styles: Sequence[str], preparation: ImagePreparation, *, augment: bool = True
    ) -> Drawings:
        """The drawings of all concepts of a tier in some styles."""
        places = [[atlas.place(style).get(one.code, -1) for style in styles] for one in atlas.concepts]
        sheets = tuple(atlas.pixels(style) for style in styles)
        return cls(sheets, np.array(places, dtype=np.int64), preparation, augment)

    def images(self, numbers: IntArray, generator: torch.Generator | None = None) -> Inputs:
        """The drawings of concepts; a generator draws styles and changes, without it they are of the first style."""
        chosen = np.zeros(len(numbers), np.int64)
        if generator is not None:
            order = torch.rand(len(numbers), len(self.sheets), generator=generator).numpy()
            order[self.places[numbers] < 0] = -1
            chosen = order.argmax(axis=1)
        pixels = np.stack(
            [self.sheets[style][self.places[number, style]] for number, style in zip(numbers, chosen, strict=True)]
        )
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        if generator is not None and self.augment:
            values = changed(values, generator)
        size = self.preparation.size
        if values.shape[-1] != size:
            values = F.interpolate(values, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        labels = {}
        if self.numbers is not None:
            labels[ImageSimilarityDistillation.name] = torch.from_numpy(self.numbers[numbers, chosen])
        return Inputs(images=Images(pixels=self.preparation.normalize(values)), labels=labels)

    def numbered(self, concepts: Sequence[int]) -> Drawings:
        """The same, which says of every drawing where it stands among those of some concepts, style by style."""
        chosen = np.isin(np.arange(len(self.places)), concepts)
        drawn = (self.places >= 0) & chosen[:, None]
        return replace(self, numbers=np.where(drawn, drawn.T.cumsum().reshape(drawn.T.shape).T - 1, -1))

    def stored(self) -> list[Image.Image]:
        """The numbered drawings in their order, as they are stored."""
        if self.numbers is None:
            return []
        return [
            Image.fromarray(sheet[self.places[concept, style]])
            for style, sheet in enumerate(self.sheets)
            for concept in np.flatnonzero(self.numbers[:, style] >= 0)
        ]


def changed(values: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, move, scale, mirror and tint drawings on white, each by itself, [N, 3, height, width] in [0, 1]."""
    count = len(values)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    angle, scale = draw(-TURN, TURN), draw(*SCALE)
    mirror = torch.where(draw(0, 1) < MIRRORED, -1.0, 1.0)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [cos * mirror, -sin, draw(-SHIFT, SHIFT), sin * mirror, cos, draw(-SHIFT, SHIFT)]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(count, 2, 3), list(values.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - values, grid, align_corners=False)  # outside is white
    tinted = moved * draw(1 - TINT, 1 + TINT, 3, 1, 1) + draw(-TINT / 2, TINT / 2, 1, 1, 1)
    grey = tinted.mean(dim=1, keepdim=True).expand_as(tinted)
    return torch.where(draw(0, 1, 1, 1, 1) < GREY, grey, tinted).clamp(0, 1)
