"""Source of text pairs: a text to read and one to write, or a sentence and its translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.train.protocol import Source, lengths_of


@dataclass(frozen=True, eq=False)
class TargetSource:
    """Texts to read, each with one to write."""

    sources: Source[Inputs]
    targets: Source[Inputs]

    def __len__(self) -> int:
        return len(self.sources)

    def length(self, index: int) -> int:
        """Tokens of both."""
        return self.sources.length(index) + self.targets.length(index)

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Tokens of both of every pair."""
        return lengths_of(self.sources) + lengths_of(self.targets)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts with their targets."""
        target = self.targets.batch(indices, generator).text
        return self.sources.batch(indices, generator).with_streams(target=target)
