"""Random pixel sampling: pretraining on a random subset of an image's grid cells (Pixel-BERT)."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.grid_features import sampled_cells

P = TypeVar("P")


class Objective(Protocol[P]):
    """Interface of the wrapped objective."""

    @property
    def name(self) -> str:
        """Name in experiment files and mixtures."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> P:
        """The prepared batch."""

    def loss(self, system: System, batch: P) -> Tensor:
        """The loss, a scalar."""

    def measure(self, system: System, batch: P) -> Tensor:
        """The loss of each example, [B]."""


class RandomPixelSampling(Generic[P]):
    """An objective on at most ``count`` cells of every image, sampled per batch (Huang et al. 2020, section 3.4).

    Fine-tuning and inference use all cells.
    """

    def __init__(self, objective: Objective[P], *, count: int = 100) -> None:
        self.objective = objective
        self.name = objective.name
        self.count = count

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> P:
        """The batch of the objective on the sampled cells.

        Raises:
            UserError: the inputs have no images.
        """
        if inputs.regions is None:
            raise UserError(f"cells of images are sampled for {self.name}, but the inputs have no images")
        fewer = inputs.with_streams(regions=sampled_cells(inputs.regions, self.count, generator))
        return self.objective.prepare(fewer, generator)

    def loss(self, system: System, batch: P) -> Tensor:
        """The loss of the objective."""
        return self.objective.loss(system, batch)

    def measure(self, system: System, batch: P) -> Tensor:
        """The losses of the objective, [B]."""
        return self.objective.measure(system, batch)
