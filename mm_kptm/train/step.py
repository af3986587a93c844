"""What a step of training consists of, and which part of it each process makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple

from mm_kptm.data.sampler import BatchIndices, seeded, share
from mm_kptm.train.protocol import BatchGiven, Scheduled, Source


class StepPlan(NamedTuple):
    """A step to be computed, in one or several parts: over processes, and one after the other within each."""

    step: int
    indices: BatchIndices

    def examples(self, part: int, parts: int) -> tuple[int, ...]:
        """The examples of one part; a batch smaller than the number of parts leaves some empty."""
        return share(self.indices.indices, part, parts)

    def weight(self, part: int, parts: int) -> float:
        """The fraction of the step's examples that one part has."""
        return len(self.examples(part, parts)) / len(self.indices.indices)


@dataclass(frozen=True)
class BatchBuilder(Generic[BatchGiven]):
    """Makes the batches of the parts that belong to one process; may be sent to another process to work ahead."""

    source: Source[BatchGiven]
    seed: int
    local_parts: range  #: numbers of the parts this process computes
    parts: int  #: how many there are in all processes

    def __call__(self, plan: StepPlan) -> list[BatchGiven]:
        """One batch a part; an empty part computes the first example, with weight zero."""
        source: Source[BatchGiven] = self.source.at(plan.step) if isinstance(self.source, Scheduled) else self.source
        return [
            source.batch(
                plan.examples(part, self.parts) or plan.indices.indices[:1], seeded(self.seed, plan.step, part)
            )
            for part in self.local_parts
        ]
