"""Attention as one operator, so that a compiled layer is one graph for sequences of any lengths.

The operator is opaque to ``torch.compile``: it reads the sizes of its calls from a tensor on the host. Eager layers
call :func:`~mm_kptm.nn.kernels.calls.compute_calls` itself, which has gradients of its own. Here FlashAttention keeps
its log-sum-exp for the backward pass; other kernels compute the calls again there, with the same dropout.

Shapes: Q query rows, S source rows, H heads, E dim of one head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mm_kptm.nn.kernels.calls import AttentionCalls, aligned, compute_calls, flash, gathered

#: Parameters that both operators have last: the tensors of :class:`AttentionCalls` in their order, then the dropout.
_CALLS = (
    "Tensor sizes, Tensor? mask, Tensor? query_rows, Tensor? source_rows, Tensor? places, Tensor? cu_queries, "
    "Tensor? cu_sources, float dropout"
)
_QUERY_ROWS, _CU_QUERIES = 2, 5  # places among them
_THREE = "(Tensor, Tensor, Tensor)"


@torch.library.custom_op(
    "mm_kptm::attention", mutates_args=(), schema=f"(Tensor query, Tensor key, Tensor value, {_CALLS}) -> {_THREE}"
)
def _attention(query: Tensor, key: Tensor, value: Tensor, *parts: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Output [Q, H, E], log-sum-exp and random state for the backward pass."""
    calls, dropout = _calls(*parts[:-1]), parts[-1]
    with torch.autocast(query.device.type, enabled=False):
        if _keeps_lse(query, calls.cu_queries):
            return _flash_forward(query, key, value, calls, dropout)
        state = _random_state(query.device) if dropout else _nothing(torch.uint8)
        out = compute_calls(query, key, value, calls, dropout)
        return out.contiguous(), query.new_empty(0, dtype=torch.float32), state


@_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *parts: Any) -> tuple[Tensor, Tensor, Tensor]:
    out, query_rows, dropout = query.new_empty(query.shape), parts[_QUERY_ROWS], parts[-1]
    if _keeps_lse(query, parts[_CU_QUERIES]):
        rows = query.shape[0] if query_rows is None else query_rows.shape[0]
        lse = query.new_empty((query.shape[1], rows), dtype=torch.float32)
        return out, lse, query.new_empty(2, dtype=torch.uint64)
    size = _state_size(query.device) if dropout else 0
    return out, query.new_empty(0, dtype=torch.float32), torch.empty(size, dtype=torch.uint8)


@torch.library.custom_op(
    "mm_kptm::attention_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, Tensor state, "
    f"{_CALLS}) -> {_THREE}",
)
def _attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    state: Tensor,
    *parts: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    calls, dropout = _calls(*parts[:-1]), parts[-1]
    inputs = query.detach().requires_grad_(), key.detach().requires_grad_(), value.detach().requires_grad_()
    with _differentiable(query.device):
        if _keeps_lse(query, calls.cu_queries):
            return _flash_backward(gradient, inputs, out, lse, state, calls, dropout)
        before = _random_state(query.device) if dropout else None
        if before is not None:
            _set_random_state(query.device, state)
        attended = compute_calls(*inputs, calls, dropout)
        if before is not None:
            _set_random_state(query.device, before)
        found = torch.autograd.grad(attended, inputs, gradient, materialize_grads=True)
    return found[0].contiguous(), found[1].contiguous(), found[2].contiguous()


@_attention_backward.register_fake
def _(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *parts: Any) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, dropout = inputs
    ctx.dropout = dropout
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors[:3], *output, *tensors[3:])


def _backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    found: tuple[Tensor, Tensor, Tensor] = _attention_backward(gradient, *ctx.saved_tensors, ctx.dropout)
    return (*found, *(None,) * 8)


_attention.register_autograd(_backward, setup_context=_setup_context)


def attention(query: Tensor, key: Tensor, value: Tensor, calls: AttentionCalls, dropout: float) -> Tensor:
    """As :func:`~mm_kptm.nn.kernels.calls.compute_calls`, as one operator: [Q, H, E]."""
    out: Tensor = _attention(query, key, value, *calls[2:], dropout)[0]
    return out


def _calls(sizes: Tensor, *tensors: Tensor | None) -> AttentionCalls:
    rows: list[tuple[int, int, int, int]] = sizes.tolist()
    return AttentionCalls(tuple((count, n, m) for count, n, m, _ in rows), any(row[3] for row in rows), sizes, *tensors)


def _keeps_lse(query: Tensor, cu_queries: Tensor | None) -> bool:
    return cu_queries is not None and query.dtype in (torch.float16, torch.bfloat16)


def _flash_forward(
    query: Tensor, key: Tensor, value: Tensor, calls: AttentionCalls, dropout: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Output of every query, and log-sum-exp and state of the dropout."""
    dim = query.shape[-1]
    q, k, v = (aligned(rows) for rows in gathered(query, key, value, calls))
    (_, n, m), *blind = calls.shapes
    rows = len(q) - sum(count * size for count, size, _ in blind)
    found, lse, state = flash(q[:rows], k, v, calls, (n, m), dropout, scale=dim**-0.5)
    out = found[..., :dim]
    if rows < len(q):
        out, lse = torch.cat([out, out.new_zeros(len(q) - rows, *out.shape[1:])]), _widened(lse, len(q))
    out = out if calls.places is None else out.index_select(0, calls.places)
    return out.contiguous(), lse.contiguous(), state


def _flash_backward(
    gradient: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    lse: Tensor,
    state: Tensor,
    calls: AttentionCalls,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dim = inputs[0].shape[-1]
    (_, n, m), *blind = calls.shapes
    q, k, v = (aligned(rows) for rows in gathered(*inputs, calls))
    rows = len(q) - sum(count * size for count, size, _ in blind)
    with torch.no_grad():
        read, wanted = (part if calls.query_rows is None else part[calls.query_rows] for part in (out, gradient))
        found = torch.ops.aten._flash_attention_backward(
            aligned(wanted[:rows]).contiguous(),
            q[:rows],
            k,
            v,
            aligned(read[:rows]).contiguous(),
            lse[:, :rows].contiguous(),
            calls.cu_queries,
            calls.cu_sources,
            n,
            m,
            dropout,
            calls.causal,
            state,
            torch.empty(0, device=gradient.device),
            scale=dim**-0.5,
        )
    # through the padding of heads and the gathering of rows
    gradients = torch.autograd.grad((q[:rows], k, v), inputs, found)
    return gradients[0].contiguous(), gradients[1].contiguous(), gradients[2].contiguous()


@contextmanager
def _differentiable(device: torch.device) -> Iterator[None]:
    """Context manager in which an operator, which runs below autograd, takes gradients itself; without autocast."""
    included, nothing = torch._C._dispatch_tls_local_include_set(), torch._C.DispatchKeySet.from_raw_repr(0)
    with (
        torch._C._ForceDispatchKeyGuard(included, nothing),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def _widened(lse: Tensor, rows: int) -> Tensor:
    return torch.nn.functional.pad(lse, (0, rows - lse.shape[1]))


def _nothing(dtype: torch.dtype) -> Tensor:
    return torch.empty(0, dtype=dtype)


def _random_state(device: torch.device) -> Tensor:
    """State of the global generator; it lies on the host for every device."""
    return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)


def _state_size(device: torch.device) -> int:
    return 16 if device.type == "cuda" else torch.get_rng_state().numel()
