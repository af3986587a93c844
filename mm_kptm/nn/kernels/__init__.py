"""Attention kernels: which one computes an attention layout, its inputs, and the operator of compiled layers."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.nn.kernels.calls import AttentionCalls, compute_calls
    from mm_kptm.nn.kernels.choice import kernel_for
    from mm_kptm.nn.kernels.operator import attention
else:
    __getattr__ = lazy(
        __name__,
        {"calls": ["AttentionCalls", "compute_calls"], "choice": ["kernel_for"], "operator": ["attention"]},
    )

__all__ = ["AttentionCalls", "attention", "compute_calls", "kernel_for"]
