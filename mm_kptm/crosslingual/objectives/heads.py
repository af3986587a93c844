"""Heads of cross-lingual pretraining.

Shapes: B pairs, D dim.
"""

from torch import Tensor, nn


class BorrowedRows(nn.Module):
    """Binary classifier with unused rows of the word table as weight and bias, without own parameters.

    The released code of Conneau and Lample (2019) classifies parallel sentences with it.
    """

    def __init__(self, word: nn.Embedding, *, weight: int, bias: int) -> None:
        super().__init__()
        self.word = word
        self.rows = weight, bias

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, D] -> [B]."""
        weight, bias = (self.word.weight[row] for row in self.rows)
        return pooled @ weight + bias[0]
