"""Choice of the attention kernel by device, number format, mask and dropout.

=========  ======================================================  ====================================================
kernel     computes                                                taken
=========  ======================================================  ====================================================
``runs``   one call a run of sequences of equal lengths, no        on a CPU
           padding
``varlen`` all sequences in one call: FlashAttention-2 in 16       on CUDA without mask, or causal over whole sequences
           bits (Dao 2023), the memory-efficient kernel in
           float32; with or without dropout
``flex``   all sequences in one call under a block mask            on CUDA under a mask, without dropout
           (FlexAttention)
``groups`` up to four padded calls with a mask                     on CUDA otherwise
=========  ======================================================  ====================================================
"""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import torch

Kernel: TypeAlias = Literal["runs", "varlen", "flex", "groups"]
MAX_HEAD_DIM = 256  #: of FlashAttention and FlexAttention


def kernel_for(
    device: torch.device, dtype: torch.dtype, *, head_dim: int, masked: bool, causal: bool, dropout: bool
) -> Kernel:
    """The kernel of an attention call.

    Args:
        device: of the rows.
        dtype: of query, key and value.
        head_dim: width of one head.
        masked: there is an attention mask.
        causal: the mask is causal over whole sequences, which ``varlen`` computes itself.
        dropout: attention weights are dropped.
    """
    if device.type != "cuda":
        return "runs"
    supported = dtype == torch.float32 or (dtype in (torch.float16, torch.bfloat16) and _has_flash(device))
    if supported and head_dim <= MAX_HEAD_DIM and (not masked or causal):
        return "varlen"
    if masked and not dropout and head_dim <= MAX_HEAD_DIM and dtype != torch.float64:
        return "flex"
    return "groups"


@cache
def _has_flash(device: torch.device) -> bool:
    """Whether FlashAttention-2 runs on a device: compute capability 8.0 or more."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= (8, 0)
