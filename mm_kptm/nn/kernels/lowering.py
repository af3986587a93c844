"""Lowering of ragged layouts to the calls of kernels that read sequences of different lengths at once.

All row numbers are made on the host and copied to the device without waiting for it.

Shapes: n query rows and m source rows of one sequence in a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout
from mm_kptm.batch.rows import copied
from mm_kptm.nn.kernels.calls import AttentionCalls, calls_of
from mm_kptm.nn.kernels.padded_groups import padded_groups

MaskOfRows = Callable[[Tensor, Tensor], Tensor]  #: as :meth:`~mm_kptm.batch.AttentionMask.mask_mod`, of query numbers
_MASK_ALIGNMENT = 16  #: kernels want masks whose last dim is a multiple of this


def varlen_call(
    queries: SequenceLayout, sources: SequenceLayout, device: torch.device, *, causal: bool = False
) -> AttentionCalls:
    """One call of a kernel for sequences of any lengths, which their bounds give.

    Sequences without query or source rows, which such kernels do not take, are left out.
    """
    pairs = list(zip(queries.lengths, sources.lengths, strict=True))
    kept = [b for b, pair in enumerate(pairs) if all(pair)]
    within, read = (SequenceLayout(tuple(pairs[b][side] for b in kept)) for side in (0, 1))
    shape = (len(kept), max(within.lengths, default=1), max(read.lengths, default=0))
    calls = calls_of([shape], causal=causal)
    if len(kept) < len(pairs):
        calls = _placed(calls, queries, sources, [_Placed(b, *pairs[b]) for b in kept], device)
    return calls._replace(cu_queries=within.cu_seqlens(device), cu_sources=read.cu_seqlens(device))


def group_calls(
    queries: SequenceLayout, sources: SequenceLayout, device: torch.device, seen: MaskOfRows | None = None
) -> AttentionCalls:
    """Up to four padded calls under a mask.

    Args:
        queries: layout of the query rows.
        sources: layout of the source rows, with as many sequences.
        device: of the rows.
        seen: whether a query attends to a source row of its sequence; a query masked from all attends to all.
            None: no mask but that of padding.
    """
    groups = padded_groups(queries.lengths, sources.lengths)
    shapes = [(len(g.sequences), g.num_queries, g.num_sources + -g.num_sources % _MASK_ALIGNMENT) for g in groups]
    placed = [_Placed(b, n, m) for g, (_, n, m) in zip(groups, shapes, strict=True) for b in g.sequences]
    calls = _placed(calls_of(shapes), queries, sources, placed, device)
    rows, read = cast(Tensor, calls.query_rows), cast(Tensor, calls.source_rows)
    masks = []
    for group, (count, n, m) in zip(groups, shapes, strict=True):
        numbers, rows = rows[: count * n].view(count, n, 1), rows[count * n :]
        from_rows, read = read[: count * m].view(count, 1, m), read[count * m :]
        lengths = copied(torch.tensor([sources.lengths[b] for b in group.sequences]), device)
        real = (torch.arange(m, device=device) < lengths[:, None, None]).expand(count, n, m)
        if seen is not None:
            mask = seen(numbers, from_rows) & real
            real = torch.where(mask.any(-1, keepdim=True), mask, real)
        masks.append(real.flatten())
    return calls._replace(mask=torch.cat(masks) if masks else None)


class _Placed(NamedTuple):
    """A sequence in a call, padded by its last row."""

    sequence: int
    num_queries: int
    num_sources: int


def _placed(
    calls: AttentionCalls,
    queries: SequenceLayout,
    sources: SequenceLayout,
    sequences: list[_Placed],
    device: torch.device,
) -> AttentionCalls:
    """Calls over the sequences given, one after the other.

    Queries of sequences without source rows come after them, in a call without sources.
    """
    rows, read, done = [], [], 0
    places = torch.zeros(queries.total, dtype=torch.long)
    blind = [_Placed(b, n, 0) for b, n in enumerate(queries.lengths) if n and not sources.lengths[b]]
    for b, n, m in (*sequences, *blind):
        own, length = queries.offsets[b], queries.lengths[b]
        rows.append(own + torch.arange(n).clamp(max=length - 1))
        read.append(sources.offsets[b] + torch.arange(m).clamp(max=sources.lengths[b] - 1))
        places[own : own + length] = torch.arange(done, done + length)
        done += n
    if blind:
        behind = sum(placed.num_queries for placed in blind), 1, 0
        calls = calls_of([*calls.shapes, behind], causal=calls.causal)
    none = torch.zeros(0, dtype=torch.long)
    return calls._replace(
        query_rows=copied(torch.cat([none, *rows]), device),
        source_rows=copied(torch.cat([none, *read]), device),
        places=copied(places, device),
    )
