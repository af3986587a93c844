"""Minimal pairs (Winoground): two pictures and two captions of the same words, which have to be matched.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from mm_kptm.data.images.decoding import read_picture
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.two_towers.frozen_towers import FrozenTowers

TEXT, IMAGE, GROUP = "text-score", "image-score", "group-score"


@dataclass(frozen=True, eq=False)
class MinimalPairBatch(ExampleBatch):
    """Pairs of pictures and of captions; the first picture belongs to the first caption."""

    pictures: tuple[tuple[Image.Image, Image.Image], ...]
    captions: tuple[tuple[str, str], ...]
    about: tuple[Example, ...]


@dataclass(frozen=True)
class MinimalPairSource:
    """Source of minimal pairs by the files of their pictures."""

    files: tuple[tuple[Path, Path], ...]
    captions: tuple[tuple[str, str], ...]
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.files)

    def length(self, index: int) -> int:
        """The same for all."""
        return 1

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MinimalPairBatch:
        """The given pairs, decoded; ``UserError`` where a picture cannot be."""
        pictures = [tuple(Image.fromarray(read_picture(file)) for file in self.files[index]) for index in indices]
        return MinimalPairBatch(
            tuple((first, second) for first, second in pictures),
            tuple(self.captions[index] for index in indices),
            tuple(self.about[index] for index in indices),
        )


class MinimalPairs(FrozenTowers[MinimalPairBatch]):
    """Text, image and group score of Thrush et al. (2022, Winoground, CVPR, section 4.1); a row is right if both are.

    A tie is wrong. Chance is 1/4 for the text and the image score and 1/6 for the group score.
    """

    name = "minimal-pairs"

    @torch.no_grad()
    def predict(self, batch: MinimalPairBatch) -> list[Row]:
        """Whether captions are told apart by pictures (text), pictures by captions (image), and both (group)."""
        images = self.system.encode_images([one for pair in batch.pictures for one in pair]).float().cpu()
        texts = self.system.encode_text([one for pair in batch.captions for one in pair]).float().cpu()
        shape = (len(batch), 2, -1)
        scores = finite_scores(texts.view(shape) @ images.view(shape).transpose(1, 2), "pairs")  # [B, caption, picture]
        own, other = scores.diagonal(dim1=1, dim2=2), scores.flip(2).diagonal(dim1=1, dim2=2)
        # ``other`` pairs each caption with the wrong picture; flipped, each picture with the wrong caption.
        image = (own > other).all(dim=1)
        text = (own > other.flip(1)).all(dim=1)
        return [
            prediction(
                about, "matched" if both else "mixed up", correct=float(both), **{TEXT: float(t), IMAGE: float(i)}
            )
            for about, t, i, both in zip(
                batch.about, text.tolist(), image.tolist(), (text & image).tolist(), strict=True
            )
        ]

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """The three scores."""
        count = len(rows)
        found = {name: sum(float(row[name]) for row in rows) / count for name in (TEXT, IMAGE)}
        return found | {GROUP: sum(float(row["correct"]) for row in rows) / count}
