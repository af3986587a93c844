"""Tangled attention of three streams (ActBERT).

Shapes: A action rows, T token rows, R region rows, D dim.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mm_kptm.nn.assembly import join
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.steps import Stream


class Tangled(NamedTuple):
    """What the streams read."""

    from_words: Tensor  #: what the action reads in the words, [A, D]
    from_regions: Tensor  #: what the action reads in the regions, [A, D]
    words: Tensor  #: [T, D]
    regions: Tensor  #: [R, D]


class TangledAttention(nn.Module):
    """Words read the regions, and regions the words, by way of the action (Zhu and Yang 2020, section 3.2).

    The action reads both streams; what it read in the words stands beside the regions as further keys and values, and
    the other way round. Residuals, norms and the self-attention of the action are outside.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.action_words, self.action_regions, self.words, self.regions, self.into_words, self.into_regions = (
            Attention(dim, num_heads, dropout=dropout) for _ in range(6)
        )

    def forward(self, action: Stream, words: Stream, regions: Stream) -> Tangled:
        """What every stream reads, before its residual."""
        from_words = self.action_words(action.x, words.x, AttentionLayout(action.layout, words.layout))
        from_regions = self.action_regions(action.x, regions.x, AttentionLayout(action.layout, regions.layout))
        return Tangled(
            from_words,
            from_regions,
            _read(self.words, self.into_words, words, from_regions, action),
            _read(self.regions, self.into_regions, regions, from_words, action),
        )


def _read(attention: Attention, entry: Attention, stream: Stream, brought: Tensor, action: Stream) -> Tensor:
    """A stream reads itself and what the action brought from the other one."""
    joint = join(stream.layout, action.layout, stream.x.device)
    own, other = attention.offer(stream.x), entry.offer(brought)
    key, value = (
        joint.rows(mine.flatten(1), theirs.flatten(1)).view(-1, *mine.shape[1:])
        for mine, theirs in zip(own, other, strict=True)
    )
    return attention.read(stream.x, key, value, AttentionLayout(stream.layout, joint.layout))
