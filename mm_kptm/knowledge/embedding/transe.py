"""TransE score as a trainable module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TransEScore(nn.Module):
    r"""TransE score with a relation table (Bordes et al. 2013; Wang et al. 2021, eq. 4).

    .. math:: s(h, r, t) = \gamma - \lVert h + r - t \rVert_2

    The margin :math:`\gamma` is saved in the checkpoint and not trained. Computed in single precision at least.
    """

    def __init__(self, dim: int, num_relations: int, *, margin: float = 4.0) -> None:
        super().__init__()
        self.relation = nn.Embedding(num_relations, dim)
        self.margin = nn.Parameter(torch.tensor([float(margin)]), requires_grad=False)
        reach = (margin + 2) / dim
        nn.init.uniform_(self.relation.weight, -reach, reach)

    def forward(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of head, relation and tail vectors [..., D], [...]."""
        wide = torch.promote_types(heads.dtype, torch.float32)
        apart = heads.to(wide) + relations.to(wide) - tails.to(wide)
        return self.margin - torch.linalg.vector_norm(apart, dim=-1)
