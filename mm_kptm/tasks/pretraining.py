"""Pretraining: objectives by their names, and the batches of a source turned into puzzles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mm_kptm.batch import Inputs
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError, nearest
from mm_kptm.objectives.continual import ContinualSchedule
from mm_kptm.objectives.mixture import MixtureBatch, Objective
from mm_kptm.objectives.order import PairClassification, SentenceOrder, SentenceReordering
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.span_boundary import MaskedSpans
from mm_kptm.objectives.spans import CutSpans, RunMasking, everything
from mm_kptm.objectives.token_classes import TokenClasses
from mm_kptm.objectives.tokens import Bernoulli, MaskedTokens, Masking
from mm_kptm.train.protocol import Source
from mm_kptm.vision.objectives.masked_regions import MaskedRegionFeatures, WordRegionAlignment


class BatchPreparer(Protocol):
    """Makes the puzzles of a batch: a mixture, or its objectives alone."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MixtureBatch:
        """One puzzle per objective."""

    def only(self, name: str) -> BatchPreparer:
        """What makes the puzzles of one objective alone."""


@dataclass(frozen=True)
class ObjectiveSource:
    """The examples of ``inputs`` as puzzles of ``mixture``; what is hidden is drawn from the batch's generator."""

    inputs: Source[Inputs]
    mixture: BatchPreparer

    def __len__(self) -> int:
        return len(self.inputs)

    def length(self, index: int) -> int:
        """As that of the inputs."""
        return self.inputs.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The puzzles of the given examples."""
        return self.mixture.prepare(self.inputs.batch(indices, generator), generator)

    def only(self, name: str) -> ObjectiveSource:
        """The same examples as puzzles of one objective alone."""
        return ObjectiveSource(self.inputs, self.mixture.only(name))


@dataclass(frozen=True)
class SourcesOfObjectives:
    """Every objective with inputs of its own; where it has fewer of them than another, they begin anew.

    Args:
        inputs: by objective.
        objectives: by name, as many.
    """

    inputs: Mapping[str, Source[Inputs]]
    objectives: Mapping[str, Objective]

    def __len__(self) -> int:
        return max(map(len, self.inputs.values()))

    def length(self, index: int) -> int:
        """Of the longest of its inputs."""
        return max(inputs.length(index % len(inputs)) for inputs in self.inputs.values())

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """A puzzle of every objective, drawn in the order of their names."""
        made = {}
        for name in sorted(self.objectives):
            inputs = self.inputs[name]
            given = inputs.batch([index % len(inputs) for index in indices], generator)
            made[name] = self.objectives[name].prepare(given, generator)
        return MixtureBatch(made, len(indices))

    def only(self, name: str) -> SourcesOfObjectives:
        """The puzzles of one objective alone, as many as of all."""
        inputs = Repeated(self.inputs[name], len(self))
        return SourcesOfObjectives({name: inputs}, {name: self.objectives[name]})


@dataclass(frozen=True)
class Repeated:
    """Inputs that begin anew until there are ``count``."""

    inputs: Source[Inputs]
    count: int

    def __len__(self) -> int:
        return self.count

    def length(self, index: int) -> int:
        """As that of the inputs."""
        return self.inputs.length(index % len(self.inputs))

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given examples."""
        return self.inputs.batch([index % len(self.inputs) for index in indices], generator)


@dataclass(frozen=True)
class Staged:
    """Puzzles of one objective a step, as a schedule has it; all of them where no step is asked for."""

    source: ObjectiveSource | SourcesOfObjectives
    schedule: ContinualSchedule

    def __len__(self) -> int:
        return len(self.source)

    def length(self, index: int) -> int:
        """As that of the source."""
        return self.source.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The puzzles of all objectives."""
        return self.source.batch(indices, generator)

    def at(self, step: int) -> ObjectiveSource | SourcesOfObjectives:
        """The puzzles of the objective that is trained at a step."""
        return self.source.only(self.schedule.objective(step))


Maker = Callable[[Specials, int, float], Objective]  #: from special tokens, size of the vocabulary and share hidden


def _masked_tokens(specials: Specials, vocab_size: int, hidden: float) -> MaskedTokens:
    choice = Bernoulli(hidden)
    return MaskedTokens(Masking(specials.mask, pool=(0, vocab_size), never=specials.never_hidden, policy=choice))


def _masked_spans(specials: Specials, vocab_size: int, hidden: float) -> MaskedSpans:
    masking = everything(specials.mask, (0, vocab_size), specials.never_hidden)
    return MaskedSpans(RunMasking(masking, CutSpans(rate=hidden)))


#: Every objective that an experiment's ``objectives:`` may name, whatever its data.
OBJECTIVES: Mapping[str, Maker] = {
    "masked-tokens": _masked_tokens,
    "masked-spans": _masked_spans,
    "sentence-order": lambda specials, vocab_size, hidden: SentenceOrder(),
    "sentence-reordering": lambda specials, vocab_size, hidden: SentenceReordering(),
    "capitalization": lambda specials, vocab_size, hidden: TokenClasses("capitalization"),
    "document-words": lambda specials, vocab_size, hidden: TokenClasses("document-words"),
    "sentence-distance": lambda specials, vocab_size, hidden: PairClassification("sentence-distance"),
    "image-text-matching": lambda specials, vocab_size, hidden: ImageTextMatching(),
    "masked-region-features": lambda specials, vocab_size, hidden: MaskedRegionFeatures(),
    "word-region-alignment": lambda specials, vocab_size, hidden: WordRegionAlignment(),
}


def objectives_named(
    names: Iterable[str],
    specials: Specials,
    vocab_size: int,
    *,
    mask_rate: float = 0.15,
    more: Mapping[str, Maker] | None = None,
) -> dict[str, Objective]:
    """The objectives of these names; those on tokens hide a share ``hidden`` of them.

    Args:
        names: of :data:`OBJECTIVES`, or of ``more`` that only these data can feed.

    Raises:
        UserError: a name is unknown.
    """
    known = {**OBJECTIVES, **(more or {})}
    for name in names:
        if name not in known:
            raise UserError(f"no objective is called {name!r}{nearest(name, known)}")
    return {name: known[name](specials, vocab_size, mask_rate) for name in names}


def heads_of(objectives: Mapping[str, Objective]) -> dict[str, dict[str, Any]]:
    """The heads that a system needs for some objectives; most objectives have one, and are called like it."""
    return {
        head: dict(getattr(objective, "sizes", {}))
        for name, objective in objectives.items()
        for head in _heads(name, objective)
    }


def _heads(name: str, objective: Objective) -> tuple[str, ...]:
    heads: tuple[str, ...] = getattr(objective, "heads", (getattr(objective, "head", name),))
    return heads
