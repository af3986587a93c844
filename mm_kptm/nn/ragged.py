"""Attention over ragged rows.

An :class:`AttentionLayout` says which rows attend to which; :func:`attend` computes it with the back end that suits the
device: on a CPU neighbouring sequences of equal length go into one call (no padding, no mask), on CUDA all sequences go
into one call, or into up to four under a mask with dropout (:mod:`mm_kptm.nn.kernels.choice`). :func:`padded_attend` is
the reference that the tests compare the others with.

Shapes: B sequences, Q query rows, S source rows, H heads, E dim of one head, n and m rows of one sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from mm_kptm.batch import AttentionMask, SequenceLayout, pad
from mm_kptm.batch.rows import on_host, rows_at
from mm_kptm.nn.kernels.block_masks import block_mask, compute_flex
from mm_kptm.nn.kernels.calls import AttentionCalls, calls_of, compute_calls
from mm_kptm.nn.kernels.choice import Kernel, kernel_for
from mm_kptm.nn.kernels.lowering import group_calls, varlen_call
from mm_kptm.nn.kernels.operator import attention
from mm_kptm.nn.visibility import Causal

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, eq=False)
class AttentionLayout:
    """Which query rows attend to which source rows; made once per batch and shared by all layers."""

    queries: SequenceLayout
    sources: SequenceLayout
    mask: AttentionMask | None = None
    query_rows: Tensor | None = None  #: row of each query in its stream, [Q]; None: all rows in order
    source_rows: Tensor | None = None  #: row of each source in its stream, [S]; None: all rows in order
    lowered: AttentionCalls | BlockMask | None = field(default=None, init=False)  #: set by :meth:`prepare`

    def query_states(self, x: Tensor) -> Tensor:
        """The query rows of a stream, [Q, ...]."""
        return x if self.query_rows is None else x[self.query_rows]

    def key_states(self, source: Tensor) -> Tensor:
        """The source rows of a stream, [S, ...]; shared sequences are repeated."""
        return source if self.source_rows is None else source.index_select(0, self.source_rows)

    def restrict_queries(self, rows: Tensor) -> AttentionLayout:
        """The same layout for some of its queries; ``rows`` [Q] in ascending order."""
        ids = self.queries.sequence_ids(torch.device("cpu"))
        counts = torch.bincount(ids[on_host(rows)], minlength=len(self.queries))
        numbers = rows if self.query_rows is None else rows_at(self.query_rows, rows)
        return replace(self, queries=SequenceLayout(tuple(counts.tolist())), query_rows=numbers)

    @property
    def causal(self) -> bool:
        """Whether the mask is causal over whole sequences."""
        return isinstance(self.mask, Causal) and self.query_rows is None and self.queries == self.sources

    def kernel(self, device: torch.device, dtype: torch.dtype, *, head_dim: int, dropout: bool) -> Kernel:
        """The kernel that computes this layout."""
        masked = self.mask is not None
        return kernel_for(device, dtype, head_dim=head_dim, masked=masked, causal=self.causal, dropout=dropout)

    def prepare(self, kernel: Kernel, device: torch.device) -> None:
        """Lower the layout to what ``kernel`` reads, for layers that are compiled."""
        object.__setattr__(self, "lowered", self.blocks(device) if kernel == "flex" else self.calls(kernel, device))

    @cached_property
    def _lowered(self) -> dict[tuple[str, torch.device], object]:
        return {}

    def calls(self, kernel: Kernel, device: torch.device) -> AttentionCalls:
        """The calls of the kernel ``runs``, ``varlen`` or ``groups``; made once per device."""
        if (key := (kernel, device)) not in self._lowered:
            lower = {"runs": self._runs, "varlen": self._varlen, "groups": self._groups}[kernel]
            self._lowered[key] = lower(device)
        return cast(AttentionCalls, self._lowered[key])

    def blocks(self, device: torch.device) -> BlockMask:
        """FlexAttention's mask: one long sequence in which sequences do not attend to each other."""
        if (key := ("flex", device)) not in self._lowered:
            self._lowered[key] = block_mask(self._mask_mod(device), self.queries, self.sources, device)
        return cast("BlockMask", self._lowered[key])

    def _runs(self, device: torch.device) -> AttentionCalls:
        blocks = list(runs(self.queries, self.sources))
        shapes = [(count, _size(rows, count), _size(from_rows, count)) for rows, from_rows, count in blocks]
        if self.mask is None:
            return calls_of(shapes)
        masks = [
            finite(self._seen(self.mask, *block, device)).expand(shape).flatten()
            for block, shape in zip(blocks, shapes, strict=True)
            if all(shape)
        ]
        return calls_of(shapes, torch.cat(masks) if masks else None)

    def _varlen(self, device: torch.device) -> AttentionCalls:
        return varlen_call(self.queries, self.sources, device, causal=self.causal)

    def _groups(self, device: torch.device) -> AttentionCalls:
        mask, streamed = self.mask, self.query_rows
        if mask is None:
            return group_calls(self.queries, self.sources, device)

        def seen(rows: Tensor, sources: Tensor) -> Tensor:
            return mask.mask_mod(rows if streamed is None else streamed[rows], sources)

        return group_calls(self.queries, self.sources, device, seen)

    def _mask_mod(self, device: torch.device) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """FlexAttention's ``mask_mod``: whether a query index attends to a source index."""
        attention_mask, rows = self.mask, self.query_rows
        query_ids, source_ids = self.queries.sequence_ids(device), self.sources.sequence_ids(device)
        blind = torch.zeros_like(query_ids, dtype=torch.bool)
        if attention_mask is not None and attention_mask.may_hide_all:
            any_seen = [
                self._seen(attention_mask, *run, device).any(-1).flatten() for run in runs(self.queries, self.sources)
            ]
            blind = ~torch.cat(any_seen)

        def mask(_batch: Tensor, _head: Tensor, query: Tensor, source: Tensor) -> Tensor:
            same_sequence = query_ids[query] == source_ids[source]
            if attention_mask is None:
                return same_sequence
            row = query if rows is None else rows[query]
            return same_sequence & (attention_mask.mask_mod(row, source) | blind[query])

        return mask

    def _seen(
        self, attention_mask: AttentionMask, rows: slice, sources: slice, count: int, device: torch.device
    ) -> Tensor:
        """The mask of a run of sequences, [count, n, m]."""
        numbers = (
            torch.arange(rows.start, rows.stop, device=device) if self.query_rows is None else self.query_rows[rows]
        )
        source = torch.arange(sources.start, sources.stop, device=device)
        return attention_mask.mask_mod(
            _by_sequence(numbers, count).unsqueeze(2), _by_sequence(source, count).unsqueeze(1)
        )


def _size(rows: slice, count: int) -> int:
    return cast(int, rows.stop - rows.start) // count


def _by_sequence(numbers: Tensor, count: int) -> Tensor:
    """[count * n] -> [count, n]; n may be 0."""
    return numbers.view(count, len(numbers) // count)


def finite(mask: Tensor) -> Tensor:
    """Let a row that is masked from everything attend to everything, as an additive mask would."""
    return mask | ~mask.any(-1, keepdim=True)


@lru_cache(maxsize=64)
def self_attention_layout(layout: SequenceLayout) -> AttentionLayout:
    """Every row attends to its whole sequence."""
    return AttentionLayout(layout, layout)


@lru_cache(maxsize=64)
def cross_attention_layout(queries: SequenceLayout, sources: SequenceLayout) -> AttentionLayout:
    """Every row attends to the whole sequence of the same index in another stream."""
    return AttentionLayout(queries, sources)


def masked_self_attention_layout(layout: SequenceLayout, mask: AttentionMask | None) -> AttentionLayout:
    """Self-attention of a stream under a mask, if there is one."""
    return self_attention_layout(layout) if mask is None else AttentionLayout(layout, layout, mask)


def runs(queries: SequenceLayout, sources: SequenceLayout) -> Iterator[tuple[slice, slice, int]]:
    """Neighbouring sequences of equal lengths on both sides, as row slices and their count.

    >>> list(runs(SequenceLayout((2, 2, 3)), SequenceLayout((1, 1, 1))))
    [(slice(0, 4, None), slice(0, 2, None), 2), (slice(4, 7, None), slice(2, 3, None), 1)]
    """
    start = 0
    for _, alike in groupby(zip(queries.lengths, sources.lengths, strict=True)):
        stop = start + len(list(alike))
        yield (
            slice(queries.offsets[start], queries.offsets[stop]),
            slice(sources.offsets[start], sources.offsets[stop]),
            stop - start,
        )
        start = stop


Observer = Callable[[Tensor, Tensor, AttentionLayout, Tensor | None], None]
_observer: Observer | None = None


@contextmanager
def observed_attention(observer: Observer) -> Iterator[None]:
    """Context manager in which ``observer`` gets query, key, layout and bias of every attention (:func:`observe`)."""
    global _observer
    previous, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = previous


def observe(query: Tensor, key: Tensor, attention_layout: AttentionLayout, bias: Tensor | None = None) -> None:
    """Show a call of attention to the observer, if there is one; arguments as those of :func:`padded_weights`.

    :func:`attend` does so; attention that computes its scores otherwise says so by itself.
    """
    if _observer is not None:
        _observer(query, key, attention_layout, bias)


def observed() -> bool:
    """Whether there is an observer."""
    return _observer is not None


def attend(
    query: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout, *, dropout: float = 0.0
) -> Tensor:
    """Attention output of every query row: [Q, H, E] from query [Q, H, E], key and value [S, H, E].

    Scaled dot-product attention (Vaswani et al. 2017, eq. 1) within the sequences of ``attention_layout``.
    """
    if torch.compiler.is_compiling():
        return _compiled_attend(query, key, value, attention_layout, dropout)
    observe(query, key, attention_layout)
    if not len(query):
        return query  # the kernels need at least one row
    if (records := _records.get()) is not None:
        return _recorded(query, key, value, attention_layout, records)
    kernel = attention_layout.kernel(query.device, query.dtype, head_dim=query.shape[-1], dropout=dropout > 0)
    if kernel == "flex":
        return compute_flex(query, key, value, attention_layout.blocks(query.device))
    return compute_calls(query, key, value, attention_layout.calls(kernel, query.device), dropout)


class AttentionRecord(NamedTuple):
    """One call of :func:`attend`: its weights, [B, H, n, m] with padding at zero, and which rows they are of."""

    weights: Tensor
    attention_layout: AttentionLayout


_records: ContextVar[list[AttentionRecord] | None] = ContextVar("records", default=None)


@contextmanager
def recorded_attention() -> Iterator[list[AttentionRecord]]:
    """Context manager that collects the weights of every :func:`attend`, in the graph of its output.

    Gradients of an output with respect to the weights can be taken; dropout is off.
    """
    records: list[AttentionRecord] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def _recorded(
    query: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout, records: list[AttentionRecord]
) -> Tensor:
    q = pad(query, attention_layout.queries).transpose(1, 2)  # [B, H, n, E]
    k, v = (pad(rows, attention_layout.sources).transpose(1, 2) for rows in (key, value))
    found = padded_weights(q, k, attention_layout)
    records.append(AttentionRecord(found, attention_layout))
    return (found @ v).transpose(1, 2)[_real(attention_layout.queries, query.device)]


def _compiled_attend(
    query: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout, dropout: float
) -> Tensor:
    """Attention inside of a compiled layer; the layout was lowered before."""
    lowered = attention_layout.lowered
    if lowered is None:
        raise RuntimeError("a compiled layer got an attention layout that is not lowered; call its prepare before")
    if isinstance(lowered, AttentionCalls):
        return attention(query, key, value, lowered, dropout)
    return compute_flex(query, key, value, lowered)


def padded_attend(query: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout) -> Tensor:
    """Reference for :func:`attend`: pads every sequence to the longest."""
    q = pad(query, attention_layout.queries).transpose(1, 2)  # [B, H, n, E]
    k, v = (pad(rows, attention_layout.sources).transpose(1, 2) for rows in (key, value))
    attended = padded_weights(q, k, attention_layout) @ v
    return attended.transpose(1, 2)[_real(attention_layout.queries, query.device)]


def weights(query: Tensor, key: Tensor, attention_layout: AttentionLayout) -> list[Tensor]:
    """Attention weights of query rows over source rows, one [H, n, m] per sequence; rows sum to one."""
    q, k = (
        pad(rows, layout).transpose(1, 2)
        for rows, layout in ((query, attention_layout.queries), (key, attention_layout.sources))
    )
    all_weights = padded_weights(q, k, attention_layout)
    sizes = zip(all_weights, attention_layout.queries.lengths, attention_layout.sources.lengths, strict=True)
    return [one[:, :n, :m] for one, n, m in sizes]


def padded_weights(query: Tensor, key: Tensor, attention_layout: AttentionLayout, bias: Tensor | None = None) -> Tensor:
    """Softmax of the scores over unmasked source rows, [B, H, n, m]; ``bias`` of that shape is added to the scores."""
    device = query.device
    rows = (
        torch.arange(attention_layout.queries.total, device=device)
        if attention_layout.query_rows is None
        else attention_layout.query_rows
    )
    numbers = pad(rows, attention_layout.queries)[:, :, None]
    sources = pad(torch.arange(attention_layout.sources.total, device=device), attention_layout.sources)[:, None, :]
    seen = _real(attention_layout.sources, device)[:, None, :].expand(-1, numbers.shape[1], -1)
    if attention_layout.mask is not None:
        attention_mask = seen & attention_layout.mask.mask_mod(numbers, sources)
        seen = torch.where(attention_mask.any(-1, keepdim=True), attention_mask, seen)
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    scores = scores if bias is None else scores + bias
    unseen = ~seen.unsqueeze(1)
    # the second fill is for rows without sources: their softmax is undefined, their output is zero
    return scores.masked_fill(unseen, float("-inf")).softmax(-1).masked_fill(unseen, 0.0)


def _real(layout: SequenceLayout, device: torch.device) -> Tensor:
    return pad(torch.ones(layout.total, dtype=torch.bool, device=device), layout)
