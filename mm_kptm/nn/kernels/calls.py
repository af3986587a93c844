"""The attention calls of a batch: their inputs, and their computation by dense and variable-length kernels.

Shapes: Q query rows, S source rows, H heads, E dim of one head, C calls, B sequences, n and m rows of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_ALIGNMENT = 8  #: kernels on CUDA take head dims that are multiples of this


Shape = tuple[int, int, int]  #: sequences, query rows and source rows of a call, with padding


class AttentionCalls(NamedTuple):
    """What kernels read of an attention layout; made once per batch and shared by all layers."""

    shapes: tuple[Shape, ...]
    causal: bool  #: whether a variable-length call is causal
    sizes: Tensor  #: both again as a tensor on the host, for the operator of compiled layers, [C, 4]
    mask: Tensor | None = None  #: the masks of all calls end to end, each [sequences, n, m]; None: no mask
    query_rows: Tensor | None = None  #: query row of every row of the calls; None: in order
    source_rows: Tensor | None = None  #: source row of every row of the calls; None: in order
    places: Tensor | None = None  #: row of the calls that holds the output of each query, [Q]; None: in order
    cu_queries: Tensor | None = None  #: bounds of a variable-length call, which is the first one, int32, [B + 1]
    cu_sources: Tensor | None = None


def calls_of(shapes: Sequence[Shape], mask: Tensor | None = None, *, causal: bool = False) -> AttentionCalls:
    """Calls that read the rows in order."""
    sizes = torch.tensor([[*shape, int(causal)] for shape in shapes], dtype=torch.long).view(-1, 4)
    return AttentionCalls(tuple(shapes), causal, sizes, mask)


def compute_calls(query: Tensor, key: Tensor, value: Tensor, calls: AttentionCalls, dropout: float) -> Tensor:
    """Attention output of every query row, [Q, H, E], from query [Q, H, E], key and value [S, H, E]; differentiable.

    A call without source rows gives zeros.
    """
    query, key, value = gathered(query, key, value, calls)
    shapes = calls.shapes
    sizes = [[count * n for count, n, _ in shapes], [count * m for count, _, m in shapes]]
    if calls.cu_queries is not None:
        sizes[0][0], sizes[1][0] = len(query) - sum(sizes[0][1:]), len(key) - sum(sizes[1][1:])
    masks = None if calls.mask is None else calls.mask.split([count * n * m for count, n, m in shapes])
    # one split of all rows: the gradients of its pieces are joined once, those of slices are added up one by one
    pieces = zip(query.split(sizes[0]), key.split(sizes[1]), value.split(sizes[1]), strict=True)
    attended = []
    for number, ((count, n, m), (q, k, v)) in enumerate(zip(shapes, pieces, strict=True)):
        if not len(q):
            continue
        if not len(k):
            attended.append(torch.zeros_like(q))
        elif number == 0 and calls.cu_queries is not None:
            attended.append(_varlen(q, k, v, calls, (n, m), dropout))
        else:
            mask = None if masks is None else masks[number].view(count, 1, n, m)
            attended.append(_dense(q, k, v, count, mask, dropout))
    joined = attended[0] if len(attended) == 1 else torch.cat(attended)
    return joined if calls.places is None else joined.index_select(0, calls.places)


def gathered(query: Tensor, key: Tensor, value: Tensor, calls: AttentionCalls) -> tuple[Tensor, Tensor, Tensor]:
    """The rows that the calls read, in their order."""
    if calls.query_rows is not None:
        query = query.index_select(0, calls.query_rows)
    if calls.source_rows is not None:
        key, value = (rows.index_select(0, calls.source_rows) for rows in (key, value))
    return query, key, value


def _dense(query: Tensor, key: Tensor, value: Tensor, count: int, mask: Tensor | None, dropout: float) -> Tensor:
    """Sequences of one length each side; mask [count, 1, n, m].

    A CPU differentiates attention in 16 bits several times more slowly than in float32, which is then used.
    """
    dtype, differentiated = query.dtype, torch.is_grad_enabled() and query.requires_grad
    widened = differentiated and query.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16)
    if widened:
        query, key, value = query.float(), key.float(), value.float()
    q, k, v = (rows.unflatten(0, (count, -1)).transpose(1, 2) for rows in (query, key, value))  # [count, H, n, E]
    with torch.autocast("cpu", enabled=False) if widened else nullcontext():
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return out.transpose(1, 2).flatten(0, 1).to(dtype)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, calls: AttentionCalls, longest: tuple[int, int], dropout: float
) -> Tensor:
    """Sequences of any lengths; gradients are those that torch has for its nested tensors.

    ``torch.nn.attention.varlen`` has neither dropout nor float32, and may pick cuDNN, which makes a plan for every new
    shape; the operators below it have both.
    """
    head_dim = query.shape[-1]
    q, k, v = (aligned(rows) for rows in (query, key, value))
    bounds = (calls.cu_queries, calls.cu_sources, *longest)
    if query.dtype == torch.float32:
        q, k, v = (rows.unsqueeze(0) for rows in (q, k, v))
        keeps = torch.is_grad_enabled() and any(rows.requires_grad for rows in (q, k, v))
        out = torch.ops.aten._efficient_attention_forward(
            q, k, v, None, *bounds, dropout, int(calls.causal), keeps, scale=head_dim**-0.5
        )[0].squeeze(0)
    else:
        out = flash(q, k, v, calls, longest, dropout, scale=head_dim**-0.5)[0]
    attended: Tensor = out[..., :head_dim]
    return attended


def flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    calls: AttentionCalls,
    longest: tuple[int, int],
    dropout: float,
    *,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """FlashAttention-2 over sequences of any lengths: output, log-sum-exp [H, Q] and the state of its dropout."""
    found = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        calls.cu_queries,
        calls.cu_sources,
        *longest,
        dropout,
        calls.causal,
        False,
        scale=scale,
    )
    return found[0], found[1], found[2]


def aligned(rows: Tensor) -> Tensor:
    """Heads padded with zeros to a dim that kernels take; scores and outputs do not change."""
    missing = -rows.shape[-1] % _ALIGNMENT
    return F.pad(rows, (0, missing)) if missing else rows
