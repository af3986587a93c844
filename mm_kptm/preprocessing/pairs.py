"""Source of text pairs: a text to read and one to write, or a sentence and its translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mm_kptm.batch import Inputs
from mm_kptm.train.protocol import Source


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

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts with their targets."""
        target = self.targets.batch(indices, generator).text
        return self.sources.batch(indices, generator).with_streams(target=target)
