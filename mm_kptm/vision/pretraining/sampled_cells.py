"""Pretraining that sees a random share of an image's cells (Pixel-BERT's random pixel sampling)."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.vision.modules.grid_cells import sampled_cells

P = TypeVar("P")


class Puzzling(Protocol[P]):
    """An objective: makes puzzles of inputs and knows their losses."""

    name: str

    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> P:
        """What is to be solved."""

    def loss(self, system: nn.Module, puzzle: P) -> Tensor:
        """One number."""

    def measure(self, system: nn.Module, puzzle: P) -> Tensor:
        """One number per example, [B]."""


class OnSampledCells(Generic[P]):
    """Any objective, on at most ``count`` cells of every image drawn anew for every batch (Huang et al. 2020, 3.4).

    Fine-tuning and inference see all cells.
    """

    def __init__(self, objective: Puzzling[P], *, count: int = 100) -> None:
        self.objective = objective
        self.name = objective.name
        self.count = count

    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> P:
        """The puzzle of the objective after most cells are left out.

        Raises:
            UserError: the inputs have no images.
        """
        if inputs.regions is None:
            raise UserError(f"cells of images are sampled for {self.name}, but the inputs have no images")
        fewer = replace(inputs, regions=sampled_cells(inputs.regions, self.count, generator))
        return self.objective.puzzle(fewer, generator)

    def loss(self, system: nn.Module, puzzle: P) -> Tensor:
        """That of the objective."""
        return self.objective.loss(system, puzzle)

    def measure(self, system: nn.Module, puzzle: P) -> Tensor:
        """Those of the objective, [B]."""
        return self.objective.measure(system, puzzle)
