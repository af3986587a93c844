"""Phrase grounding: the regions that the phrases of a caption mean.

Shapes: B captions, P phrases of all of them, R regions expanded per caption, M most regions of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, OutputRows, SequenceLayout, Tokens, pad
from mm_kptm.data.packing import Packed
from mm_kptm.data.sampler import in_order, seeded
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, RowInputs, prediction
from mm_kptm.tasks.heads import ChosenHead
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.tasks.vision.grounding import corners_of
from mm_kptm.train.evaluation import shard_batches
from mm_kptm.train.parallel.processes import all_gather_object
from mm_kptm.train.protocol import Source
from mm_kptm.vision.modules.single_stream.phrase_attention import PhraseAttention

RANKS = (1, 5, 10)  #: ranks at which recall is reported
NOWHERE = 0  #: rank of a phrase that no region shows


@dataclass(frozen=True, eq=False)
class PhraseBatch(ExampleBatch):
    """Captions with phrases and the regions that they mean."""

    inputs: Inputs
    rows: Tensor  #: token row of the last piece of every phrase, [P]
    asked: SequenceLayout  #: phrases per caption
    right: Tensor  #: whether a region overlaps a box of the phrase by half, false behind the last one, [P, M]
    about: tuple[Example, ...]
    phrases: tuple[tuple[Example, ...], ...]  #: metadata of the phrases of each caption


@dataclass(frozen=True, eq=False)
class PhraseSource:
    """Captions with phrases.

    Args:
        shown: the captions with their images.
        ends: column ``ends``, the token of a caption at which each of its phrases ends; a sequence per caption.
        right: column ``right``, region by region and phrase after phrase; a sequence per caption.
        about: metadata of each caption.
        phrases: metadata of the phrases of each caption.
    """

    shown: InputSource
    ends: Packed
    right: Packed
    about: tuple[Example, ...]
    phrases: tuple[tuple[Example, ...], ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens and regions of a caption."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PhraseBatch:
        """The captions of the given indices."""
        inputs = self.shown.batch(indices, generator)
        ends, counts = self.ends.take(indices)
        asked = SequenceLayout(counts)
        texts, shown = inputs.required("text", Tokens).layout, inputs.repeat_shared()[0]
        sequence_ids = asked.sequence_ids(torch.device("cpu"))
        columns, _ = self.right.take(indices)
        lengths = torch.tensor(shown.lengths)[sequence_ids].tolist()
        right = pad(
            torch.from_numpy(columns["right"].astype(bool)), SequenceLayout(tuple(lengths)), length=max(shown.lengths)
        )
        return PhraseBatch(
            inputs,
            texts.starts(torch.device("cpu"))[sequence_ids] + torch.from_numpy(ends["ends"].astype(np.int64)),
            asked,
            right,
            tuple(self.about[index] for index in indices),
            tuple(self.phrases[index] for index in indices),
        )


class PhraseGrounding(Task[PhraseBatch]):
    """Choice of the region that each phrase of a caption means (Plummer et al. 2015; Li et al. 2019, section 4.4).

    The state of the last piece of a phrase attends to the regions of the image, and the region that it attends to most
    is the answer.

    Args:
        system: uses its head ``phrase-grounding``; without one, a new attention as wide as the states.
    """

    name = "phrase-grounding"
    needs = frozenset({"text", "regions"})
    HEADS = ("phrase-grounding",)

    def __init__(self, system: System) -> None:
        super().__init__(system)
        width = getattr(system.encoder, "region_states", system.dim)
        self.head = ChosenHead(system, self.HEADS, lambda: PhraseAttention(system.dim, system.dim, region_dim=width))

    def forward(self, batch: PhraseBatch) -> Tensor:
        """Score of every region for every phrase, minus infinity behind the last one, [P, M]."""
        rows = OutputRows({"text": batch.rows, "regions": EVERY_ROW}, pooled=False)
        encoded: Encoded = self.system(batch.inputs, rows)
        shown, _ = batch.inputs.repeat_shared()
        scores: Tensor = self.head.of(self.system)(encoded.text, encoded.regions, batch.asked, shown)
        return scores

    def loss(self, batch: PhraseBatch) -> Tensor:
        """The divergence from the uniform distribution over the right regions, averaged over phrases."""
        losses = self._losses(self(batch), batch)
        return losses.mean() if len(losses) else losses.sum()

    @torch.no_grad()
    def measure(self, batch: PhraseBatch) -> dict[str, Tensor]:
        """The share of a caption's phrases whose region is right, and their mean loss."""
        scores = self._finite(batch)
        right = batch.right.gather(1, scores.argmax(1, keepdim=True)).squeeze(1).float()
        return {"recall@1": _means(right, batch), "loss": _means(self._losses(scores, batch), batch)}

    @torch.no_grad()
    def predict(self, batch: PhraseBatch) -> list[Row]:
        """One row for each caption: how many of its phrases are right; :meth:`predictions` has one for each phrase."""
        return [
            prediction(about, str(sum(float(row["correct"]) for row in rows)), correct=_share(rows))
            for about, rows in zip(batch.about, self.phrase_rows(batch), strict=True)
        ]

    @torch.no_grad()
    def phrase_rows(self, batch: PhraseBatch) -> list[list[Row]]:
        """The region of every phrase, by its place in the image, with its box as fractions.

        ``rank`` is that of the best right one, 0 for none.
        """
        scores = self._finite(batch)
        best = scores.argmax(1)
        firsts = batch.inputs.repeat_shared()[0].starts(best.device)[batch.asked.sequence_ids(best.device)]
        boxes = corners_of(batch.inputs, firsts + best)
        highest = scores.masked_fill(~batch.right, float("-inf")).amax(1, keepdim=True)
        ahead = ((scores >= highest) & ~batch.right & scores.isfinite()).sum(1)
        ranks = torch.where(batch.right.any(1), 1 + ahead, NOWHERE).tolist()
        found = [
            prediction(about, str(place), correct=float(rank == 1), rank=rank, **box)
            for about, place, rank, box in zip(
                (one for own in batch.phrases for one in own), best.tolist(), ranks, boxes, strict=True
            )
        ]
        ends = batch.asked.offsets
        return [found[first:stop] for first, stop in pairwise(ends)]

    @torch.no_grad()
    def predictions(self, source: Source[Any], *, batch_size: int = 64, seed: int = 0) -> list[Row]:
        """A row for each phrase of the source, in its order; several processes share the work."""
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        orders = in_order([source.length(index) for index in range(len(source))], batch_size)
        rows: dict[int, list[Row]] = {}
        training = self.training
        self.eval()
        try:
            for number, indices in shard_batches(orders):
                batch = source.batch(indices, seeded(seed, number)).to(device)
                rows |= zip(indices, self.phrase_rows(batch), strict=True)
        finally:
            self.train(training)
        for others in all_gather_object(rows):
            rows |= others
        return [row for index in range(len(source)) for row in rows[index]]

    def inputs_of_row(self, source: Source[Any], number: int, row: Row) -> RowInputs:
        """The caption of a phrase and its image."""
        if not isinstance(source, PhraseSource):
            return RowInputs()
        index = next(at for at, own in enumerate(source.phrases) if any(one.id == row["id"] for one in own))
        return RowInputs(index, (source.shown.batch([index], torch.Generator()),))

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Recall at 1, 5 and 10, and the recall that the regions allow."""
        ranks = [float(row["rank"]) for row in rows]
        found = {f"recall@{k}": sum(NOWHERE < rank <= k for rank in ranks) / len(ranks) for k in RANKS}
        return {**found, "upper-bound": sum(rank > NOWHERE for rank in ranks) / len(ranks)}

    def _finite(self, batch: PhraseBatch) -> Tensor:
        scores = self(batch)
        shown, _ = batch.inputs.repeat_shared()
        counts = torch.tensor(shown.lengths, device=scores.device)[batch.asked.sequence_ids(scores.device)]
        finite_scores(scores[torch.arange(scores.shape[1], device=scores.device) < counts[:, None]], "regions")
        return scores

    def _losses(self, scores: Tensor, batch: PhraseBatch) -> Tensor:
        """KL divergence of each phrase; 0 where no region is right, [P]."""
        truth = batch.right / batch.right.sum(1, keepdim=True).clamp(min=1)
        chances = scores.log_softmax(1).masked_fill(~batch.right, 0.0)
        return (truth * (truth.clamp(min=1e-12).log() - chances)).sum(1)


def _means(values: Tensor, batch: PhraseBatch) -> Tensor:
    """The mean over the phrases of each caption, 0 for one without, [B]."""
    sums = values.new_zeros(len(batch)).index_add(0, batch.asked.sequence_ids(values.device), values)
    return sums / torch.tensor(batch.asked.lengths, device=values.device).clamp(min=1)


def _share(rows: Sequence[Row]) -> float:
    return sum(float(row["correct"]) for row in rows) / max(len(rows), 1)
