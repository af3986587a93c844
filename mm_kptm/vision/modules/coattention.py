"""The steps of ViLBERT that LXMERT does not have: layers of regions that the text modulates.

Shapes: T token rows, R region rows, B texts, D dim of the text, E of the regions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm_kptm.batch import NONE, Layout
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import Reading, attend
from mm_kptm.nn.steps import WHOLE, Asked, Pair, Step, Stream


class GuidedAttention(Attention):
    r"""Self-attention of regions whose queries and keys the text scales: :math:`q \cdot (1 + \sigma(W_q \bar{t}))`.

    :math:`\bar{t}` is the mean of the text's states as they are at that moment. From the released code of 12-in-1
    (``dynamic_attention``); no published model has it on.

    Args:
        dim: E.
        num_heads: must divide E.
        text_dim: D.
    """

    def __init__(self, dim: int, num_heads: int, *, text_dim: int, dropout: float = 0.1) -> None:
        super().__init__(dim, num_heads, dropout=dropout)
        self.query_gate = nn.Linear(text_dim, dim)
        self.key_gate = nn.Linear(text_dim, dim)

    def guided(self, rows: Tensor, reading: Reading, guides: Tensor, owners: Tensor) -> Tensor:
        """Let the asked ``rows`` [R, E] read their sequences, guided by a vector of each [B, D]: [Q, E]."""
        gates = [1.0 + gate(guides).sigmoid()[owners] for gate in (self.query_gate, self.key_gate)]  # each [R, E]
        query = reading.asked(project(self.query, rows) * gates[0])
        key = project(self.key, rows) * gates[1]
        offered = (reading.offered(self._heads(part)) for part in (key, project(self.value, rows)))
        dropout = self.dropout if self.training else 0.0
        read = attend(self._heads(query), *offered, reading, dropout=dropout)
        return project(self.merge, read.flatten(1))


class GuidedStep(Step):
    """Regions read themselves, guided by the text beside them, which waits unchanged.

    An image that several texts are about is read once for each of them.

    Args:
        layer: a BERT layer whose attention is a :class:`GuidedAttention`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.right = layer

    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        left, right = pair.left, pair.right
        if asked.right is NONE:
            return Pair(left.taken(asked.left), right.taken(NONE))
        right = right.repeated()
        owners = right.layout.owners(right.x.device)
        attend_to, feed = self.right.attend, self.right.feed
        reading = right.reading if isinstance(asked.right, slice) else right.reading.narrowed(asked.right)
        read = attend_to.attention.guided(right.x, reading, means(left.x, left.layout), owners)  # type: ignore[union-attr, operator]
        x = feed(attend_to.add(reading.asked(right.x), read))  # type: ignore[operator]
        return Pair(left.taken(asked.left), Stream.of(x, reading.queries))

    def needs(self, asked: Asked) -> Asked:
        return asked if asked.right is NONE else WHOLE


def means(rows: Tensor, layout: Layout) -> Tensor:
    """The mean row of every sequence, zero where it has none, [B, D]."""
    owners = layout.owners(rows.device)
    sums = rows.new_zeros(len(layout), rows.shape[1]).index_add(0, owners, rows)
    counts = torch.tensor(layout.lengths, dtype=rows.dtype, device=rows.device)
    return sums / counts.clamp(min=1)[:, None]
