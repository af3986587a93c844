"""Multi-head attention, within one stream or from one stream to another.

Shapes: Q query rows, S source (key and value) rows, D query dim, W attention width, H heads.
"""

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, attend, weights


class Attention(nn.Module):
    r"""Multi-head attention (Vaswani et al. 2017, section 3.2).

    .. math:: \mathrm{head}_h = \mathrm{softmax}(Q_h K_h^\top / \sqrt{W/H})\, V_h

    Queries and sources may differ in dim, and ``width`` may differ from both (ViLBERT's co-attention).

    Raises:
        UserError: the width cannot be divided evenly among the heads.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        source_dim: int | None = None,
        width: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = dim if width is None else width
        source_dim = dim if source_dim is None else source_dim
        if num_heads < 1 or width % num_heads:
            raise UserError(f"a dim of {width} cannot be divided evenly among {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, width)
        self.key = nn.Linear(source_dim, width)
        self.value = nn.Linear(source_dim, width)
        self.out_proj = nn.Linear(width, dim)

    def forward(self, x: Tensor, source: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """Attend from the query rows ``x`` [Q, D] to the rows ``source`` [S, source_dim] of their sequences: [Q, D].

        A source that several sequences share is projected once.
        """
        key, value = self.offer(source)
        return self.read(x, attention_layout.key_states(key), attention_layout.key_states(value), attention_layout)

    def offer(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the source rows, each [S, H, W / H]; a decoder caches them."""
        return self._heads(project(self.key, source)), self._heads(project(self.value, source))

    def read(self, x: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """Attend from the query rows ``x`` [Q, D] to keys and values [S, H, W / H]: [Q, D]."""
        return project(self.out_proj, self.attended(x, key, value, attention_layout))

    def attended(self, x: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """The heads of the query rows side by side, before the output projection: [Q, W]."""
        dropout = self.dropout if self.training else 0.0
        return attend(self._heads(project(self.query, x)), key, value, attention_layout, dropout=dropout).flatten(1)

    def weights(self, x: Tensor, source: Tensor, attention_layout: AttentionLayout) -> list[Tensor]:
        """Attention weights of the query rows over the source rows, one [H, n, m] per sequence."""
        key = attention_layout.key_states(project(self.key, source))
        return weights(self._heads(project(self.query, x)), self._heads(key), attention_layout)

    def _heads(self, rows: Tensor) -> Tensor:
        """[Q, W] -> [Q, H, W / H]."""
        return rows.unflatten(-1, (self.num_heads, -1))


def set_attention_dropout(module: nn.Module, rate: float | None) -> None:
    """Drop attention weights with a rate of their own; None leaves that of the states."""
    if rate is None:
        return
    for part in module.modules():
        if isinstance(part, Attention):
            part.dropout = rate
