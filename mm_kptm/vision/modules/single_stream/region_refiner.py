"""Attention on attention over the regions of an image, before they join the text (M3P).

Shapes: R region rows, D dim, F feed-forward width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.sublayers import activation_named, bert_norm


class GatedAttention(Attention):
    r"""Attention whose result is gated together with its query (Huang et al. 2019, AoANet, section 3.1).

    .. math:: \mathrm{GLU}(W [\mathrm{head}_1 \dots \mathrm{head}_H;\ x] + b)

    There is no output projection: the gate takes its place.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float = 0.1) -> None:
        super().__init__(dim, num_heads, dropout=dropout)
        del self.out_proj
        self.gate = nn.Linear(2 * dim, 2 * dim)
        self.drop = nn.Dropout(dropout)

    def read(self, x: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """Attend from the query rows ``x`` [R, D], and gate what is found with them: [R, D]."""
        attended = self.attended(x, key, value, attention_layout)
        return F.glu(project(self.gate, self.drop(torch.cat([attended, x], 1))), dim=1)


class RefinerLayer(nn.Module):
    """Pre-norm layer: gated attention among the regions of an image, then a feed-forward part."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, *, activation: str = "gelu", dropout: float) -> None:
        super().__init__()
        self.attention = GatedAttention(dim, num_heads, dropout=dropout)
        self.attention_norm = bert_norm(dim)
        self.up_proj = nn.Linear(dim, ffn_dim)
        self.down_proj = nn.Linear(ffn_dim, dim)
        self.ffn_norm = bert_norm(dim)
        self.activation = activation_named(activation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """[R, D] -> [R, D]."""
        normed = self.attention_norm(x)
        x = x + self.drop(self.attention(normed, normed, attention_layout))
        inner = project(self.up_proj, self.ffn_norm(x), self.activation)
        return x + self.drop(project(self.down_proj, inner))


class RegionRefiner(nn.Module):
    """Layers of gated attention over embedded regions, and a norm (Ni et al. 2021, the released code)."""

    def __init__(
        self, dim: int, num_heads: int, num_layers: int, *, ffn_dim: int, activation: str = "gelu", dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            RefinerLayer(dim, num_heads, ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
        )
        self.norm = bert_norm(dim)

    def forward(self, x: Tensor, layout: SequenceLayout) -> Tensor:
        """Embedded regions [R, D] of the images of a layout: [R, D]."""
        attention_layout = AttentionLayout(layout, layout)
        for layer in self.layers:
            x = layer(x, attention_layout)
        return self.norm(x)
