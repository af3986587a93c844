"""Minimal pairs (Winoground): two pictures and two captions of the same words, which have to be matched.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mm_kptm.batch import Inputs, Movable
from mm_kptm.data.images.decoding import read_picture
from mm_kptm.data.packing import Packed
from mm_kptm.preprocessing.inputs import tokens
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.contrastive_retrieval import ImageProvider
from mm_kptm.tasks.vision.two_towers.frozen_towers import FrozenTowers
from mm_kptm.vision.contrastive.two_queues import two_towers

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


@dataclass(frozen=True, eq=False)
class EncodedPairBatch(Movable):
    """Minimal pairs as a system reads them: image 2i belongs to caption 2i, image 2i + 1 to caption 2i + 1."""

    images: Inputs  #: [2B]
    texts: Inputs  #: [2B]
    about: tuple[Example, ...]  #: [B]

    def __len__(self) -> int:
        return len(self.about)


@dataclass(frozen=True, eq=False)
class EncodedPairSource:
    """Source of minimal pairs whose texts are ids already.

    Args:
        texts: both captions of every pair, [2 x pairs].
        provider: the images.
        images: their numbers, by pair.
        about: metadata, by pair.
    """

    texts: Packed
    provider: ImageProvider
    images: tuple[tuple[int, int], ...]
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.images)

    def length(self, index: int) -> int:
        """Tokens of the first caption of a pair."""
        return int(self.texts.lengths[2 * index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> EncodedPairBatch:
        """The given pairs."""
        chosen = np.array([2 * index + side for index in indices for side in (0, 1)], dtype=np.int64)
        images = np.array([number for index in indices for number in self.images[index]], dtype=np.int64)
        return EncodedPairBatch(
            self.provider.images(images),
            Inputs(text=tokens(self.texts, chosen)),
            tuple(self.about[index] for index in indices),
        )


class MinimalPairs(FrozenTowers[MinimalPairBatch | EncodedPairBatch]):
    """Text, image and group score of Thrush et al. (2022, Winoground, CVPR, section 4.1); a row is right if both are.

    A tie is wrong. Chance is 1/4 for the text and the image score and 1/6 for the group score.
    """

    name = "minimal-pairs"
    needs = frozenset({"text"})  # of images, what the data show: pixels or regions

    def _vectors(self, batch: MinimalPairBatch | EncodedPairBatch) -> tuple[Tensor, Tensor]:
        """The normalised vectors of images and of captions, each [2B, D]."""
        if isinstance(batch, EncodedPairBatch):
            found = two_towers(self.system)
            sides = found.embed_visual(batch.images), found.embed_text(batch.texts)
            images, texts = (F.normalize(side.float(), dim=-1).cpu() for side in sides)
            return images, texts
        pictures = [picture for pair in batch.pictures for picture in pair]
        captions = [caption for pair in batch.captions for caption in pair]
        return self.system.encode_images(pictures).float().cpu(), self.system.encode_text(captions).float().cpu()

    @torch.no_grad()
    def predict(self, batch: MinimalPairBatch | EncodedPairBatch) -> list[Row]:
        """Whether captions are told apart by pictures (text), pictures by captions (image), and both (group)."""
        images, texts = self._vectors(batch)
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
