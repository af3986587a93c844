"""Head on the two encodings of a text about two images.

Shapes: B encodings, D dim, H inner dim, C classes.
"""

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError


class ConcatenatedPairs(nn.Module):
    """Classifier on the concatenated pooled states of both encodings (Li et al. 2020, Oscar, section 4, NLVR2).

    Sequence 2k is about the left image of pair k, sequence 2k + 1 about the right one.

    Args:
        dim: D.
        inner_dim: H.
        norm: after the rectified layer; :class:`torch.nn.Identity` for none.
    """

    def __init__(
        self, dim: int, inner_dim: int, *, norm: nn.Module, num_classes: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * dim, inner_dim)
        self.norm = norm
        self.out = nn.Linear(inner_dim, num_classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """The scores of every pair, [B / 2, C], from pooled states [B, D].

        Raises:
            UserError: the number of sequences is odd.
        """
        if len(rows) % 2:
            raise UserError(f"two images a text need an even number of sequences, but there are {len(rows)}")
        both = self.drop(rows.unflatten(0, (len(rows) // 2, 2)).flatten(1))
        return self.out(self.norm(torch.relu(self.mix(both))))
