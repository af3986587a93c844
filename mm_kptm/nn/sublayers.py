"""Transformer sublayers, and the encoder layer made of two of them.

Shapes: T rows of a stream, Q query rows, S source rows, D dim.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.unbiased import unbiased_norm

Activation = Callable[[Tensor], Tensor]
NormBuilder = Callable[[int], nn.Module]


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU (Hendrycks and Gimpel 2016, section 2)."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU that OpenAI's CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "swish": F.silu,
    "silu": F.silu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}


def activation_named(name: str | Activation) -> Activation:
    """The activation that published configurations call ``name``; a function is returned unchanged.

    Raises:
        UserError: the name is unknown.
    """
    if not isinstance(name, str):
        return name
    if name not in ACTIVATIONS:
        raise UserError(f"no activation is called {name!r}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def bert_norm(dim: int) -> nn.LayerNorm:
    """BERT's LayerNorm: biased variance, eps 1e-12 inside the root."""
    return nn.LayerNorm(dim, eps=1e-12)


def set_norm_eps(module: nn.Module, eps: float) -> None:
    """Give every LayerNorm of a module this eps."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = eps


class UnbiasedNorm(nn.Module):
    r"""The LayerNorm of UER and so of K-BERT: :math:`g\,(x - \mu) / (s + \epsilon) + b`.

    The standard deviation :math:`s` divides by n - 1 and eps stands outside the root.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return unbiased_norm(x.to(self.weight.dtype), self.weight, self.bias, self.eps)


class AttentionSublayer(nn.Module):
    """Attention, residual, norm: the attention half of a post-norm Transformer layer."""

    def __init__(self, attention: Attention, norm: nn.Module, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = attention
        self.norm = norm
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, attention_layout: AttentionLayout, source: Tensor | None = None) -> Tensor:
        """Attend from the query rows of ``x`` [T, D] to ``source`` [S, source_dim], or to ``x`` itself: [Q, D]."""
        queries = attention_layout.query_states(x)
        return self.add(queries, self.attention(queries, x if source is None else source, attention_layout))

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Residual connection: norm(x + dropout(read)), [Q, D]."""
        return self.norm(x + self.drop(read))


class FeedForwardSublayer(nn.Module):
    """Up-projection, activation, down-projection, residual, norm: the feed-forward half of a post-norm layer."""

    def __init__(
        self, dim: int, ffn_dim: int, norm: nn.Module, *, activation: str = "gelu", dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.up_proj = nn.Linear(dim, ffn_dim)
        self.down_proj = nn.Linear(ffn_dim, dim)
        self.norm = norm
        self.drop = nn.Dropout(dropout)
        self.activation = activation_named(activation)

    def forward(self, x: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]."""
        return self.norm(x + self.drop(project(self.down_proj, project(self.up_proj, x, self.activation))))


class Layer(nn.Module):
    """Encoder layer: an attention sublayer followed by a feed-forward sublayer."""

    def __init__(self, self_attention: nn.Module, ffn: nn.Module) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.ffn = ffn

    def forward(self, x: Tensor, attention_layout: AttentionLayout, source: Tensor | None = None) -> Tensor:
        """New states of the query rows of ``x`` [T, D], attending to ``source`` or to ``x`` itself: [Q, D]."""
        return self.ffn(self.self_attention(x, attention_layout, source))


def attention_sublayer(
    dim: int,
    num_heads: int,
    *,
    source_dim: int | None = None,
    width: int | None = None,
    dropout: float = 0.1,
    norm: NormBuilder = bert_norm,
) -> AttentionSublayer:
    """BERT's attention sublayer with the widths and norm given."""
    attention = Attention(dim, num_heads, source_dim=source_dim, width=width, dropout=dropout)
    return AttentionSublayer(attention, norm(dim), dropout=dropout)


def bert_layer(
    dim: int,
    num_heads: int,
    *,
    ffn_dim: int | None = None,
    source_dim: int | None = None,
    width: int | None = None,
    activation: str = "gelu",
    dropout: float = 0.1,
    norm: NormBuilder = bert_norm,
) -> Layer:
    """A layer of BERT (Devlin et al. 2019): post-norm, feed-forward width 4 x dim unless given."""
    return Layer(
        attention_sublayer(dim, num_heads, source_dim=source_dim, width=width, dropout=dropout, norm=norm),
        FeedForwardSublayer(
            dim, 4 * dim if ffn_dim is None else ffn_dim, norm(dim), activation=activation, dropout=dropout
        ),
    )
