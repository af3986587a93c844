"""What tasks that measure two towers as they are have in common: pictures by their files, vectors, and no training.

Shapes: B pictures of a batch, N pictures, D dim.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from mm_kptm.data.images.decoding import read_picture
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import BatchT

Batch = TypeVar("Batch")
_AT_ONCE = 64  # pictures embedded at once


@dataclass(frozen=True, eq=False)
class PictureBatch(ExampleBatch):
    """Pictures with what is known of them."""

    pictures: tuple[Image.Image, ...]
    about: tuple[Example, ...]


@dataclass(frozen=True)
class LabelledPictures:
    """Source of picture files with labels.

    Args:
        files: of the pictures, [N].
        about: metadata, whose target is the label, [N].
    """

    files: tuple[Path, ...]
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.files)

    def length(self, index: int) -> int:
        """The same for all."""
        return 1

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PictureBatch:
        """The given pictures, decoded; ``UserError`` where one cannot be."""
        pictures = tuple(Image.fromarray(read_picture(self.files[index])) for index in indices)
        return PictureBatch(pictures, tuple(self.about[index] for index in indices))


class FrozenTowers(Task[BatchT]):
    """Base of tasks that measure two towers and train nothing."""

    needs = frozenset({"text", "images"})
    single_inputs = False

    def loss(self, batch: BatchT) -> Tensor:
        """Refuse to train.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.name} measures towers as they are; let train.steps be 0, and train them by contrastive-retrieval"
        )

    @abstractmethod
    def predict(self, batch: BatchT) -> list[Row]:
        """Prediction rows of the batch, in its order."""

    def measure(self, batch: BatchT) -> dict[str, Tensor]:
        """Whether each example is answered right, [B]."""
        return {"accuracy": torch.tensor([float(row.get("correct", 0.0)) for row in self.predict(batch)])}


def embedded(system: System, source: LabelledPictures) -> Tensor:
    """The normalised vectors of all pictures of a source, [N, D]."""
    parts = []
    for first in range(0, len(source), _AT_ONCE):
        batch = source.batch(range(first, min(first + _AT_ONCE, len(source))), torch.Generator())
        parts.append(system.encode_images(batch.pictures).float().cpu())
    return finite_scores(torch.cat(parts), "pictures")
