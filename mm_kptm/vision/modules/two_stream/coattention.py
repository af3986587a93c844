"""ViLBERT's co-attention schedule, and region layers gated by the text.

Shapes: T token rows, R region rows, B texts, D dim of the text, E of the regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mm_kptm.batch import NO_ROWS, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, attend
from mm_kptm.nn.steps import ALL_PAIR_ROWS, Pair, PairRows, Step, Stream
from mm_kptm.nn.sublayers import AttentionSublayer, Layer
from mm_kptm.nn.submodules import submodule


class GuidedAttention(Attention):
    r"""Self-attention of regions whose queries and keys the text scales: :math:`q \cdot (1 + \sigma(W_q \bar{t}))`.

    :math:`\bar{t}` is the mean of the text's current states. From the released code of 12-in-1 (``dynamic_attention``);
    no published model uses it.

    Args:
        dim: E.
        num_heads: must divide E.
        text_dim: D.
    """

    def __init__(self, dim: int, num_heads: int, *, text_dim: int, dropout: float = 0.1) -> None:
        super().__init__(dim, num_heads, dropout=dropout)
        self.query_gate = nn.Linear(text_dim, dim)
        self.key_gate = nn.Linear(text_dim, dim)

    def guided(self, rows: Tensor, attention_layout: AttentionLayout, guides: Tensor, owners: Tensor) -> Tensor:
        """Self-attention of ``rows`` [R, E], gated by one vector per sequence [B, D]: [Q, E]."""
        gates = [1.0 + gate(guides).sigmoid()[owners] for gate in (self.query_gate, self.key_gate)]  # each [R, E]
        query = attention_layout.query_states(project(self.query, rows) * gates[0])
        key = project(self.key, rows) * gates[1]
        value = project(self.value, rows)
        dropout = self.dropout if self.training else 0.0
        read = attend(self._heads(query), self._heads(key), self._heads(value), attention_layout, dropout=dropout)
        return project(self.out_proj, read.flatten(1))


class GuidedStep(Step):
    """Self-attention of regions, gated by the text, which passes through.

    Shared images are expanded to one per text.

    Args:
        layer: layer of the regions; its attention is a :class:`GuidedAttention`.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.right = layer

    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        left, right = pair.left, pair.right.repeated()
        if asked.right is NO_ROWS:
            return Pair(left.select(asked.left), right.select(NO_ROWS))
        sublayer = submodule(self.right, "self_attention", AttentionSublayer)
        attention = submodule(sublayer, "attention", GuidedAttention)
        attention_layout = (
            right.attention if isinstance(asked.right, slice) else right.attention.restrict_queries(asked.right)
        )
        guides, owners = means(left.x, left.layout), right.layout.sequence_ids(right.x.device)
        read = attention.guided(right.x, attention_layout, guides, owners)
        x = self.right.ffn(sublayer.add(attention_layout.query_states(right.x), read))
        return Pair(left.select(asked.left), Stream.of(x, attention_layout.queries))

    def needs(self, asked: PairRows) -> PairRows:
        return asked if asked.right is NO_ROWS else ALL_PAIR_ROWS


def means(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The mean row of every sequence, zero where it has none, [B, D]."""
    owners = layout.sequence_ids(rows.device)
    sums = rows.new_zeros(len(layout), rows.shape[1]).index_add(0, owners, rows)
    counts = torch.tensor(layout.lengths, dtype=rows.dtype, device=rows.device)
    return sums / counts.clamp(min=1)[:, None]


def cross_places(
    num_layers: int,
    num_region_layers: int,
    num_cross_layers: int,
    cross_text: Sequence[int] | None,
    cross_regions: Sequence[int] | None,
) -> list[tuple[int, int]]:
    """Number of text layers and of region layers before each co-attention.

    Raises:
        UserError: the places are not one of each stream per co-attention, not in order, or beyond the layers.
    """
    chosen = []
    for what, layers, places in (("text", num_layers, cross_text), ("regions", num_region_layers, cross_regions)):
        count = num_cross_layers
        last = [max(0, layers - count + i) for i in range(count)] if places is None else list(places)
        if len(last) != count or last != sorted(last) or any(not 0 <= place <= layers for place in last):
            raise UserError(
                f"{count} co-attentions among {layers} layers of {what} stand at {count} places from 0 to {layers} in "
                f"ascending order, not at {', '.join(map(str, last)) or 'none'}"
            )
        chosen.append(last)
    return list(zip(*chosen, strict=True))
