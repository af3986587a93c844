"""Ragged rows: sequence layouts, attention masks, and conversion to and from padding.

Shapes: B sequences, T rows, N padded length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import ClassVar, Self

import torch
from torch import Tensor

NARROWED_FROM = 256  #: integers for which a second kernel on the device costs less than the bytes


class Movable:
    """Frozen dataclass whose tensors, nested ones included, move between devices together."""

    def to(self, device: torch.device | str) -> Self:
        """The same value with its tensors on ``device``."""
        if not is_dataclass(self):
            return self
        moved = {part.name: _sent(getattr(self, part.name), device) for part in fields(self)}
        moved = {name: value for name, value in moved.items() if value is not None}
        return replace(self, **moved) if moved else self


def copied(host: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on ``device``, without waiting for it; integers go there :func:`narrowed`, and are widened.

    Integers and truth values, of which row numbers are made, are remembered: :func:`on_host` gives them back.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return host
    sent = narrowed(host)
    there = (sent.pin_memory() if torch.cuda.is_available() else sent).to(device, non_blocking=True).to(host.dtype)
    if not host.dtype.is_floating_point:
        there.on_host = host  # type: ignore[attr-defined]  # an attribute of this object alone
    return there


def narrowed(numbers: Tensor) -> Tensor:
    """Many integers in the 16 or 32 bits that hold them; fewer than :data:`NARROWED_FROM`, and others, as they are."""
    if numbers.dtype != torch.long or numbers.numel() < NARROWED_FROM or type(numbers) is not Tensor:
        return numbers  # a tensor of another type, such as a fake one, may have no values to look at
    low, high = (int(bound) for bound in numbers.aminmax())
    for kind in (torch.int16, torch.int32):
        if torch.iinfo(kind).min <= low and high <= torch.iinfo(kind).max:
            return numbers.to(kind)
    return numbers


def tensors_of(value: object) -> Iterator[Tensor]:
    """Every tensor of a batch: of dataclasses, mappings and sequences, nested ones included."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from tensors_of(getattr(value, part.name))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_of(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_of(part)


def on_host(numbers: Tensor) -> Tensor:
    """A tensor on the host; waits for the device, unless the tensor came from the host by :func:`copied`."""
    if not numbers.numel():
        return torch.empty(numbers.shape, dtype=numbers.dtype)
    kept = getattr(numbers, "on_host", None)
    return kept if isinstance(kept, Tensor) else numbers.cpu()


def rows_at(numbers: Tensor, rows: Tensor | slice) -> Tensor:
    """Some of the row numbers: those at ``rows``, without waiting for the device."""
    chosen = rows if isinstance(rows, slice) else on_host(rows)
    return copied(on_host(numbers)[chosen], numbers.device)


def _sent(value: object, device: torch.device | str) -> object | None:
    """A tensor, movable value or mapping to such on ``device``; None for anything else."""
    if isinstance(value, Tensor):
        return copied(value, device) if value.device.type == "cpu" else value.to(device)
    if isinstance(value, Movable):
        return value.to(device)
    if isinstance(value, Mapping) and value and all(isinstance(part, Tensor | Movable) for part in value.values()):
        return {name: _sent(part, device) for name, part in value.items()}
    return None


@dataclass(frozen=True)
class SequenceLayout:
    """Lengths and offsets of the sequences among the rows; made once per batch and shared by every layer."""

    lengths: tuple[int, ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of every sequence, then the total number of rows; B + 1 numbers."""
        return (0, *accumulate(self.lengths))

    @property
    def total(self) -> int:
        """Number of rows."""
        return self.offsets[-1]

    @cached_property
    def _on_device(self) -> dict[torch.device, Tensor]:
        return {}

    def cu_seqlens(self, device: torch.device) -> Tensor:
        """:attr:`offsets` as int32 on ``device``, [B + 1]; copied there once."""
        if device not in self._on_device:
            self._on_device[device] = copied(torch.tensor(self.offsets, dtype=torch.int32), device)
        return self._on_device[device]

    def starts(self, device: torch.device) -> Tensor:
        """Row number of the first row of every sequence, [B]."""
        return copied(torch.tensor(self.offsets[:-1], dtype=torch.long), device)

    def sequence_ids(self, device: torch.device) -> Tensor:
        """The sequence that each row belongs to, [T]."""
        bounds = self.cu_seqlens(device).long()
        return torch.repeat_interleave(torch.arange(len(self), device=device), bounds.diff(), output_size=self.total)

    def offsets_in_sequence(self, device: torch.device) -> Tensor:
        """Offset of each row from the first row of its sequence, [T]."""
        return torch.arange(self.total, device=device) - self.starts(device)[self.sequence_ids(device)]

    def select(self, sequences: Tensor) -> tuple[SequenceLayout, Tensor]:
        """The layout of the given sequences (repeats allowed), and the rows to gather, in order."""
        chosen = [(self.offsets[b], self.lengths[b]) for b in on_host(sequences).tolist()]
        taken, host = SequenceLayout(tuple(length for _, length in chosen)), torch.device("cpu")
        starts = torch.tensor([first for first, _ in chosen], dtype=torch.long)
        rows = starts[taken.sequence_ids(host)] + taken.offsets_in_sequence(host)
        return taken, copied(rows, sequences.device)

    def __len__(self) -> int:
        return len(self.lengths)

    def split(self, rows: Tensor) -> Iterator[Tensor]:
        """The rows [T, ...] of one sequence after another."""
        return iter(rows.split(list(self.lengths)))


class AttentionMask(Movable, ABC):
    """Attention mask within sequences, as a function of row numbers; never a matrix per batch.

    Rows are numbered over the whole batch; the two rows of a query are always of one sequence.
    """

    may_hide_all: ClassVar[bool] = (
        False  #: whether a row may be masked from everything; it then attends to its whole sequence
    )

    @abstractmethod
    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        """True where the query row may attend to the source row; takes broadcastable tensors of row numbers."""

    @abstractmethod
    def scatter(self, places: Tensor, total: int) -> AttentionMask:
        """The same mask after row i moved to ``places[i]`` among ``total`` rows.

        New rows attend to, and are attended to by, every row that ordinary rows may attend to.
        """


def pad(rows: Tensor, layout: SequenceLayout, *, value: float = 0.0, length: int | None = None) -> Tensor:
    """Ragged rows [T, ...] as a padded tensor [B, N, ...], N the longest sequence or ``length``."""
    max_length = max(layout.lengths, default=0) if length is None else length
    padded = rows.new_full((len(layout), max_length, *rows.shape[1:]), value)
    padded[layout.sequence_ids(rows.device), layout.offsets_in_sequence(rows.device)] = rows
    return padded


def unpad(padded: Tensor, real: Tensor) -> Tensor:
    """The non-padding rows of a padded tensor [B, N, ...], end to end; ``real`` [B, N] is false at padding."""
    return padded[real]


def layout_of(real: Tensor) -> SequenceLayout:
    """The layout of padded sequences; ``real`` [B, N] is false at padding."""
    return SequenceLayout(tuple(real.sum(1).tolist()))
