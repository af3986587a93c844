"""Plan of a training step, and its split into micro-batches over processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple

import torch

from mm_kptm.data.sampler import BatchIndices, even_shares, seeded, share
from mm_kptm.train.protocol import BatchGiven, Scheduled, Source


class StepPlan(NamedTuple):
    """Training step, split into parts (micro-batches) over processes and accumulation."""

    step: int
    indices: BatchIndices

    def examples(self, part: int, parts: int) -> tuple[int, ...]:
        """Examples of one part; a batch smaller than the number of parts leaves some empty."""
        if self.indices.lengths:
            return tuple(self.indices.indices[place] for place in even_shares(self.indices.lengths, parts)[part])
        return share(self.indices.indices, part, parts)

    def weight(self, part: int, parts: int) -> float:
        """Fraction of the step's examples in one part."""
        return len(self.examples(part, parts)) / len(self.indices.indices)


@dataclass(frozen=True)
class BatchBuilder(Generic[BatchGiven]):
    """Builder of the batches of one process; picklable, for loading in worker processes."""

    source: Source[BatchGiven]
    seed: int
    local_parts: range  #: indices of the parts of this process
    parts: int  #: number of parts over all processes

    def __call__(self, plan: StepPlan) -> list[BatchGiven]:
        """Collate one batch per part; an empty part uses the first example, with weight zero."""
        source: Source[BatchGiven] = self.source.at(plan.step) if isinstance(self.source, Scheduled) else self.source
        return [
            source.batch(
                plan.examples(part, self.parts) or plan.indices.indices[:1], seeded(self.seed, plan.step, part)
            )
            for part in self.local_parts
        ]


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and ``device``; ``torch.manual_seed`` would queue calls for all devices."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
