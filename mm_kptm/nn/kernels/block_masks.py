"""FlexAttention over all sequences of a batch, with a block mask made from their lengths.

The block mask follows from the layout, so the full matrix of rows by rows, which ``create_block_mask`` fills, never
exists.

Shapes: Q query rows, S source rows, H heads, E dim of one head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_BLOCK = 128  #: rows of a block on either side, FlexAttention's default


def block_mask(mask_mod: MaskMod, queries: SequenceLayout, sources: SequenceLayout, device: torch.device) -> BlockMask:
    """The blocks in which a query block and a source block hold rows of the same sequence.

    Args:
        mask_mod: whether a query row attends to a source row, as FlexAttention calls it; false across sequences.
        queries: layout of the query rows.
        sources: layout of the source rows, with as many sequences.
        device: of the rows.
    """
    from torch.nn.attention.flex_attention import BlockMask  # two seconds of start-up, for CUDA alone

    blocks = -(-queries.total // _BLOCK), -(-sources.total // _BLOCK)
    seen = torch.zeros(blocks, dtype=torch.bool)
    for b, (n, m) in enumerate(zip(queries.lengths, sources.lengths, strict=True)):
        if n and m:
            q, s = queries.offsets[b], sources.offsets[b]
            seen[q // _BLOCK : (q + n - 1) // _BLOCK + 1, s // _BLOCK : (s + m - 1) // _BLOCK + 1] = True
    counts = seen.sum(1, dtype=torch.int32)
    indices = seen.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    counts, indices = (part[None, None].to(device, non_blocking=True) for part in (counts, indices))
    return BlockMask.from_kv_blocks(
        counts, indices, BLOCK_SIZE=_BLOCK, mask_mod=mask_mod, seq_lengths=(queries.total, sources.total)
    )


@cache
def compiled_flex() -> Callable[..., Tensor]:
    """FlexAttention compiled for any number of rows."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def compute_flex(query: Tensor, key: Tensor, value: Tensor, blocks: BlockMask) -> Tensor:
    """Attention output of every query row, [Q, H, E], from query [Q, H, E], key and value [S, H, E]."""
    q, k, v = (rows.transpose(0, 1).unsqueeze(0) for rows in (query, key, value))  # [1, H, Q or S, E]
    if torch.compiler.is_compiling():
        from torch.nn.attention.flex_attention import flex_attention

        attended = flex_attention(q, k, v, block_mask=blocks)
    else:
        attended = compiled_flex()(q, k, v, block_mask=blocks)
    assert isinstance(attended, Tensor)  # a tuple comes with the log-sum-exp alone
    return attended.squeeze(0).transpose(0, 1)
