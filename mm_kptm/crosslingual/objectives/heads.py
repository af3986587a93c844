"""Heads of cross-lingual pretraining.

Shapes: B pairs, D dim.
"""

from torch import Tensor, nn


class BorrowedRows(nn.Module):
    """One score from rows of the word table that stand for no word, so that the head has no weights of its own.

    The released code of Conneau and Lample (2019) tells true translations from false ones with it.
    """

    def __init__(self, word: nn.Embedding, *, weight: int, bias: int) -> None:
        super().__init__()
        self.word = word
        self.rows = weight, bias

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, D] -> [B]."""
        weight, bias = (self.word.weight[row] for row in self.rows)
        return pooled @ weight + bias[0]
