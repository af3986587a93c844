"""Evaluation of a model on every example of a source exactly once, over any number of processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mm_kptm.data.sampler import in_order, seeded
from mm_kptm.errors import UserError
from mm_kptm.train.loading import Copies, Loader
from mm_kptm.train.parallel.processes import all_gather_object, rank_and_world_size
from mm_kptm.train.precision import Precision, autocast
from mm_kptm.train.protocol import BatchT, Source, Trainable, lengths_of, module_of

Numbered = tuple[int, tuple[int, ...]]  #: index of a batch and of its examples


@dataclass(frozen=True)
class Evaluation:
    """Per-example measures of an evaluation."""

    per_example: dict[str, Tensor]  #: measures by name, in the order of the source, float64 on the CPU, [n]
    n: int
    labelled: Tensor | None = None  #: whether each example has a gold answer, [n]; None: they all have

    @property
    def num_labelled(self) -> int:
        """How many examples have a gold answer."""
        return self.n if self.labelled is None else int(self.labelled.sum())

    @property
    def means(self) -> dict[str, float]:
        """Mean of every measure over the examples with a gold answer; empty where there is none."""
        if self.labelled is None:
            return {name: values.mean().item() for name, values in self.per_example.items()}
        chosen = {name: values[self.labelled] for name, values in self.per_example.items()}
        return {name: values.mean().item() for name, values in chosen.items() if len(values)}


@torch.no_grad()
def evaluate(
    model: Trainable[BatchT],
    source: Source[BatchT],
    *,
    batch_size: int = 64,
    precision: Precision = "fp32",
    max_tokens: int | None = None,
    seed: int = 0,
    loader: Loader[Numbered, BatchT] | None = None,
) -> Evaluation:
    """Evaluate ``model`` on its device on every example of ``source``.

    A batch has at most ``batch_size`` examples, and with ``max_tokens`` at most so many rows, if it is of several.
    ``loader`` is one of :func:`loader_of` this source, whose workers are kept; None: batches are made in this process.

    Batches are formed before they are assigned to processes, so results do not depend on the number of processes. All
    processes get the whole result, and all must call it. A batch may say by ``labelled``, one
    truth value an example, which of them have a gold answer; measures of the others count nowhere.

    Raises:
        UserError: there is no example, or a measure of one with a gold answer is not finite.
    """
    module = module_of(model)
    if not len(source):
        raise UserError("there is no example to evaluate on; a source of at least one is needed")
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    orders = shard_batches(in_order(lengths_of(source).tolist(), batch_size, max_tokens))
    made = (loader or loader_of(source, seed=seed, num_workers=0))(orders)
    send = Copies(device)
    mine: dict[str, list[Tensor]] = {}
    labelled: list[bool] = []
    training = module.training
    module.eval()
    try:
        with autocast(device, precision):
            for (_, indices), batch in made:
                labelled += getattr(batch, "labelled", None) or [True] * len(indices)
                for name, values in model.measure(send(batch)).items():
                    if values.shape != (len(indices),):
                        raise ValueError(
                            f"{type(model).__name__} measured {name} as {list(values.shape)} on {len(indices)} "
                            "examples; one number an example is needed"
                        )
                    mine.setdefault(name, []).append(values)
    finally:
        module.train(training)
    measured = {name: torch.cat(values).double().cpu() for name, values in mine.items()}
    result = _gathered([i for _, indices in orders for i in indices], measured, labelled, len(source))
    _check_finite(result)
    return result


def _check_finite(evaluation: Evaluation) -> None:
    """Refuse measures of labelled examples that are no numbers: weights or features are not finite."""
    for name, values in evaluation.per_example.items():
        bad = ~values.isfinite()
        if evaluation.labelled is not None:
            bad &= evaluation.labelled
        if bad.any():
            where = [int(i) for i in bad.nonzero().flatten()]
            shown = ", ".join(map(str, where[:8])) + (f" and {len(where) - 8} more" if len(where) > 8 else "")
            raise UserError(
                f"the {name} is {values[where[0]].item()} on examples {shown}; the weights, or the features of these "
                "examples, hold numbers that are not finite"
            )


def loader_of(source: Source[BatchT], *, seed: int, num_workers: int) -> Loader[Numbered, BatchT]:
    """Maker of the batches of evaluations of a source."""
    return Loader(partial(_make, source, seed), num_workers=num_workers)


def _make(source: Source[BatchT], seed: int, order: Numbered) -> BatchT:
    number, indices = order
    return source.batch(indices, seeded(seed, number))


def shard_batches(batches: Sequence[tuple[int, ...]]) -> list[Numbered]:
    """Batches of this process: every ``world_size``-th; short processes repeat the last batch.

    All processes have equally many, because sharded weights are gathered collectively. A repeated batch gives the same
    values at the same positions, so every example counts once.
    """
    rank, processes = rank_and_world_size()
    most = math.ceil(len(batches) / processes)
    mine = (min(turn * processes + rank, len(batches) - 1) for turn in range(most))
    return [(number, batches[number]) for number in mine]


def _gathered(indices: Sequence[int], measured: dict[str, Tensor], labelled: Sequence[bool], n: int) -> Evaluation:
    """Gather the measures of all processes in the order of the source."""
    per_example: dict[str, Tensor] = {}
    have_label = torch.ones(n, dtype=torch.bool)
    for where, values, known in all_gather_object((indices, measured, labelled)):
        have_label[torch.tensor(where)] = torch.tensor(known)
        for name, value in values.items():
            whole = per_example.setdefault(name, torch.full((n,), torch.nan, dtype=torch.float64))
            whole[torch.tensor(where)] = value
    return Evaluation(per_example, n, None if have_label.all() else have_label)
