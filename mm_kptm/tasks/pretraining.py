"""Pretraining: the batches of a source turned into the puzzles of a mixture of objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mm_kptm.batch import Inputs
from mm_kptm.objectives.mixture import Mixture, Puzzles
from mm_kptm.train.protocol import Source


@dataclass(frozen=True)
class PuzzleSource:
    """The examples of ``inputs`` as puzzles of ``mixture``; what is hidden is drawn from the batch's generator."""

    inputs: Source[Inputs]
    mixture: Mixture

    def __len__(self) -> int:
        return len(self.inputs)

    def length(self, index: int) -> int:
        """As that of the inputs."""
        return self.inputs.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Puzzles:
        """The puzzles of the given examples."""
        return self.mixture.puzzles(self.inputs.batch(indices, generator), generator)
