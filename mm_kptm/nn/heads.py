"""Output heads on final states; every head takes only the rows that it scores.

Shapes: P rows, D dim, V vocabulary, C classes.
"""

from torch import Tensor, nn

from mm_kptm.nn.sublayers import Activation, NormBuilder, activation_named, bert_norm


class Pooler(nn.Module):
    """Pooler: dense and tanh on the first state of each sequence (Devlin et al. 2019)."""

    def __init__(self, dim: int, *, activation: str = "tanh") -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.activation = activation_named(activation)

    def forward(self, first: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        return self.activation(self.dense(first))


class Transform(nn.Module):
    """Dense, activation, norm: the transform before BERT's token predictions."""

    def __init__(
        self,
        dim: int,
        out_dim: int | None = None,
        *,
        activation: str | Activation = "gelu",
        norm: NormBuilder = bert_norm,
    ) -> None:
        super().__init__()
        out_dim = dim if out_dim is None else out_dim
        self.dense = nn.Linear(dim, out_dim)
        self.activation = activation_named(activation)
        self.norm = norm(out_dim)

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, out_dim]."""
        return self.norm(self.activation(self.dense(rows)))


class TiedVocabulary(nn.Module):
    """Vocabulary logits with the word embeddings as output matrix and a separate bias."""

    def __init__(self, transform: nn.Module, word: nn.Embedding) -> None:
        super().__init__()
        self.transform = transform
        self.word = word
        self.bias = nn.Parameter(word.weight.new_zeros(word.num_embeddings))

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, V]."""
        return nn.functional.linear(self.transform(rows), self.word.weight, self.bias)


class Classifier(nn.Module):
    """Dense, activation, norm, dense: the usual classification head on the pooled state."""

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        inner_dim: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner_dim = 2 * dim if inner_dim is None else inner_dim
        self.transform = Transform(dim, inner_dim, activation=activation)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(inner_dim, num_classes)

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, C]."""
        return self.out(self.drop(self.transform(rows)))
