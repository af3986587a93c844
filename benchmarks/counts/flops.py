"""Floating-point operations, counted at the dispatcher while the work is done.

torch's own counter knows matrix products but not the fused operators of the CPU, whose closed forms are added here.
Attention: scores and weighted sum cost 2 B H n m E each forward; backward computes the scores again and four more
products of that size. A linear map with its activation: the matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_LINEAR = torch.ops.mkldnn._linear_pointwise
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attention_products(query: Sequence[int], key: Sequence[int], products: int) -> int:
    """FLOPs of ``products`` products of the size of the scores; shapes [B, H, n, E] and [B, H, m, E].

    >>> attention_products((2, 4, 10, 16), (2, 4, 20, 16), products=2)
    102400
    """
    batch, heads, asked, dim = query
    return products * 2 * batch * heads * asked * key[-2] * dim


def _forward(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    return attention_products(query, key, 2)


def _backward(_grad: Sequence[int], query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    return attention_products(query, key, 5)


def _linear(rows: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * weight[0]


def counted(work: Callable[[], object]) -> int:
    """FLOPs of one call, backward included if the call makes one."""
    counter = FlopCounterMode(
        display=False, custom_mapping={_FORWARD: _forward, _BACKWARD: _backward, _LINEAR: _linear}
    )
    with counter:
        work()
    return counter.get_total_flops()
