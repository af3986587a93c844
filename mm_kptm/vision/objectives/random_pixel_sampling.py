"""Pretraining that sees a random share of an image's cells (Pixel-BERT's random pixel sampling)."""

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
    """An objective: makes puzzles of inputs and knows their losses."""

    name: str

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> P:
        """What is to be solved."""

    def loss(self, system: System, batch: P) -> Tensor:
        """One number."""

    def measure(self, system: System, batch: P) -> Tensor:
        """One number per example, [B]."""


class RandomPixelSampling(Generic[P]):
    """Any objective, on at most ``count`` cells of every image drawn anew for every batch (Huang et al. 2020, 3.4).

    Fine-tuning and inference see all cells.
    """

    def __init__(self, objective: Objective[P], *, count: int = 100) -> None:
        self.objective = objective
        self.name = objective.name
        self.count = count

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> P:
        """The batch of the objective after most cells are left out.

        Raises:
            UserError: the inputs have no images.
        """
        if inputs.regions is None:
            raise UserError(f"cells of images are sampled for {self.name}, but the inputs have no images")
        fewer = inputs.with_streams(regions=sampled_cells(inputs.regions, self.count, generator))
        return self.objective.prepare(fewer, generator)

    def loss(self, system: System, batch: P) -> Tensor:
        """That of the objective."""
        return self.objective.loss(system, batch)

    def measure(self, system: System, batch: P) -> Tensor:
        """Those of the objective, [B]."""
        return self.objective.measure(system, batch)
