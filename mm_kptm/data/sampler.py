"""Batch sampling: shuffled, bucketed by length, deterministic and resumable.

An epoch is shuffled, cut into pools, each pool sorted by length and cut into batches, and the batches are shuffled. So
a batch has similar lengths in ascending order, for efficient ragged attention, and batches differ between epochs.
Everything follows from the seed and the epoch; nothing depends on how many processes share a batch.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count, pairwise
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from mm_kptm.errors import UserError

POOL = 20  #: batches sorted together: more gives more similar lengths, fewer more randomness


def seed_of(*parts: int) -> int:
    """One seed for a tuple of numbers (run, step, process), unrelated to that of any other tuple.

    >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
    (True, False)
    """
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes seeds of 63 bits on every device


def seeded(*parts: int) -> torch.Generator:
    """A generator that depends on these numbers alone, on every machine and in every process."""
    return torch.Generator().manual_seed(seed_of(*parts))


class BatchIndices(NamedTuple):
    """Indices of a batch: its position in the run, and its examples by ascending length."""

    epoch: int
    position: int
    indices: tuple[int, ...]
    lengths: tuple[int, ...] = ()  #: of the examples, where batches are cut by tokens; processes share them evenly


class SamplerState(TypedDict):
    """Position of a run in its data, and the settings that the position depends on."""

    seed: int
    examples: int
    batch_size: int
    max_tokens: int | None
    epoch: int
    position: int


class Sampler:
    """Infinite sampler of training batches with a resumable state.

    Reading ahead does not move the state: a draw counts when ``advance`` says that it has been trained on. Batches have
    exactly ``batch_size`` examples; what does not fill the last one sits out, by lot, until the next epoch. With
    ``max_tokens`` they are cut by their sum of lengths instead: what does not fill the last batch of a pool goes into
    the next one, and the last pool of an epoch is cut evenly. A source smaller than a batch is one batch.
    """

    def __init__(
        self, lengths: npt.ArrayLike, *, batch_size: int, max_tokens: int | None = None, seed: int = 0
    ) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        if not len(self._lengths):
            raise UserError("there is no example to train on; a source of at least one is needed")
        longest = int(self._lengths.argmax())
        if max_tokens is not None and self._lengths[longest] > max_tokens:
            raise UserError(
                f"example {longest} has {self._lengths[longest]} rows and does not fit into max_tokens "
                f"{max_tokens}; raise it to {self._lengths[longest]} or shorten the example"
            )
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._seed = seed
        self._epoch = 0
        self._position = 0

    def __iter__(self) -> Iterator[BatchIndices]:
        """All batches from the current position on, without end."""
        position = self._position
        for epoch in count(self._epoch):
            batches = self._batches(epoch)
            for at in range(position, len(batches)):
                batch = batches[at]
                lengths = () if self._max_tokens is None else tuple(self._lengths[batch].tolist())
                yield BatchIndices(epoch, at, tuple(batch.tolist()), lengths)
            position = 0

    def advance(self, draw: BatchIndices) -> None:
        """Note that ``draw`` has been trained on."""
        self._epoch, self._position = draw.epoch, draw.position + 1

    def num_batches(self, epochs: int) -> int:
        """Number of batches in the first ``epochs`` epochs; with ``max_tokens`` no two epochs need have as many."""
        if self._max_tokens is None:
            return epochs * max(1, len(self._lengths) // self._batch_size)
        return sum(len(self._batches(epoch)) for epoch in range(epochs))

    def rows(self, indices: Sequence[int]) -> int:
        """The sum of the lengths of these examples."""
        return int(self._lengths[list(indices)].sum())

    def state_dict(self) -> SamplerState:
        """The position of the next batch, with the settings that it depends on."""
        return {
            "seed": self._seed,
            "examples": len(self._lengths),
            "batch_size": self._batch_size,
            "max_tokens": self._max_tokens,
            "epoch": self._epoch,
            "position": self._position,
        }

    def load_state_dict(self, state: SamplerState) -> None:
        """Go to the place in ``state``; a place in another order of examples raises ``UserError``."""
        here = self.state_dict()
        for key in ("seed", "examples", "batch_size", "max_tokens"):
            if state[key] != here[key]:
                raise UserError(
                    f"the run to resume has {key} {state[key]} but {key} {here[key]} is asked for, so the batches "
                    "would differ; resume with the old value or start a new run"
                )
        self._epoch, self._position = state["epoch"], state["position"]

    def _batches(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        generator = seeded(self._seed, epoch)
        order = torch.randperm(len(self._lengths), generator=generator).numpy()
        batches: list[npt.NDArray[np.int64]] = []
        if self._max_tokens is None:
            if len(order) > self._batch_size:
                order = order[: len(order) - len(order) % self._batch_size]
            pool_size = POOL * self._batch_size
        else:
            pool_size = POOL * max(1, int(self._max_tokens / max(1.0, float(self._lengths.mean()))))
        starts = list(range(0, len(order), pool_size))
        if self._max_tokens is not None and len(starts) > 1 and len(order) - starts[-1] < pool_size // 2:
            starts.pop()  # too few for a pool of their own
        rest = order[:0]
        for start, stop in pairwise([*starts, len(order)]):
            pool = np.concatenate([rest, order[start:stop]])
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            last = stop == len(order)
            cut = self._cut(pool, evenly=last)
            if self._max_tokens is not None and not last:
                rest = cut.pop()
            batches += cut
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, pool: npt.NDArray[np.int64], *, evenly: bool) -> list[npt.NDArray[np.int64]]:
        """A pool in order of length, cut into batches; evenly: no batch is much smaller for want of examples."""
        if self._max_tokens is None:
            return [pool[i : i + self._batch_size] for i in range(0, len(pool), self._batch_size)]
        lengths = self._lengths[pool].tolist()
        cuts = _cuts(lengths, self._max_tokens)
        if evenly:  # by the smallest limit with as many batches
            low, high = max(lengths), self._max_tokens
            while low < high:
                limit = (low + high) // 2
                low, high = (low, limit) if len(_cuts(lengths, limit)) <= len(cuts) else (limit + 1, high)
            cuts = _cuts(lengths, high)
        return np.split(pool, cuts)


def in_order(lengths: Sequence[int], batch_size: int, max_tokens: int | None = None) -> list[tuple[int, ...]]:
    """Every example exactly once, in batches by ascending length; the batches of an evaluation.

    With ``max_tokens`` a batch also ends before its lengths exceed it, unless it is of one example.

    >>> in_order([3, 1, 2], batch_size=2)
    [(1, 2), (0,)]
    >>> in_order([3, 1, 2], batch_size=2, max_tokens=2)
    [(1,), (2,), (0,)]
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    if max_tokens is None:
        return [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
    bounds = [0, *_cuts([lengths[i] for i in order], max_tokens, batch_size), len(order)]
    return [tuple(order[start:stop]) for start, stop in pairwise(bounds) if start < stop]


def _cuts(lengths: Sequence[int], limit: int, most: int | None = None) -> list[int]:
    """Where successive examples are cut so that the sum of each part is within the limit, and its number too."""
    cuts, rows, first = [], 0, 0
    for at, length in enumerate(lengths):
        if at > first and (rows + length > limit or at - first == most):
            cuts.append(at)
            rows, first = 0, at
        rows += length
    return cuts


def share(indices: Sequence[int], part: int, parts: int) -> tuple[int, ...]:
    """The share of process ``part`` of ``parts``: every ``parts``-th example, for balanced numbers of rows.

    >>> share((4, 7, 1, 9, 2), part=1, parts=2)
    (7, 9)
    """
    return tuple(indices[part::parts])


@lru_cache(maxsize=16)
def even_shares(lengths: tuple[int, ...], parts: int) -> tuple[tuple[int, ...], ...]:
    """The places of a batch that each of several processes computes, for sums of lengths that differ little.

    The longest first, each goes to the process that has least so far (Graham 1969, longest processing time).

    >>> even_shares((1, 1, 2, 4), parts=2)
    ((3,), (0, 1, 2))
    """
    places: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0, 0, part) for part in range(parts)]  # rows, examples, process
    for place in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        rows, count, part = heapq.heappop(loads)
        places[part].append(place)
        heapq.heappush(loads, (rows + lengths[place], count + 1, part))
    return tuple(tuple(sorted(some)) for some in places)
