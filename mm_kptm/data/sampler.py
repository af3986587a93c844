"""Batch sampling: shuffled, bucketed by length, deterministic and resumable.

An epoch is shuffled, cut into pools, each pool sorted by length and cut into batches, and the batches are shuffled. So
a batch has similar lengths in ascending order, for efficient ragged attention, and batches differ between epochs.
Everything follows from the seed and the epoch; nothing depends on how many processes share a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import count
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
    ``max_tokens`` they are cut by their sum of lengths instead. A source smaller than a batch is one batch.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, max_tokens: int | None = None, seed: int = 0
    ) -> None:
        if not lengths:
            raise UserError("there is no example to train on; a source of at least one is needed")
        self._lengths = np.asarray(lengths, dtype=np.int64)
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
                yield BatchIndices(epoch, at, tuple(batches[at].tolist()))
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
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            batches += self._cut(pool[np.argsort(self._lengths[pool], kind="stable")])
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, pool: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """A pool in order of length, cut into batches."""
        if self._max_tokens is None:
            return [pool[i : i + self._batch_size] for i in range(0, len(pool), self._batch_size)]
        cuts, rows = [], 0
        for at, length in enumerate(self._lengths[pool].tolist()):
            if rows and rows + length > self._max_tokens:
                cuts.append(at)
                rows = 0
            rows += length
        return np.split(pool, cuts)


def in_order(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Every example exactly once, in batches by ascending length; the batches of an evaluation.

    >>> in_order([3, 1, 2], batch_size=2)
    [(1, 2), (0,)]
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]


def share(indices: Sequence[int], part: int, parts: int) -> tuple[int, ...]:
    """The share of process ``part`` of ``parts``: every ``parts``-th example, for balanced numbers of rows.

    >>> share((4, 7, 1, 9, 2), part=1, parts=2)
    (7, 9)
    """
    return tuple(indices[part::parts])
