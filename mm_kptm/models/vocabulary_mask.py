"""Generation restricted to a part of the vocabulary.

Shapes: P rows, V vocabulary, D dim.
"""

import copy

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


class RestrictedVocabulary(nn.Module):
    """Logits of a head, minus infinity for tokens that are not allowed."""

    allowed: Tensor

    def __init__(self, head: nn.Module, allowed: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("allowed", allowed.bool(), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, V]."""
        scores: Tensor = self.head(rows)
        return scores.masked_fill(~self.allowed, float("-inf"))


def restricted(system: System, allowed: Tensor, *, head: str = "next-tokens") -> System:
    """The same system, sharing all weights, whose head allows only some tokens.

    Args:
        system: left unchanged.
        allowed: true where a token may be generated, [V].
        head: name of the head.

    Raises:
        UserError: no token is allowed.
    """
    if not torch.any(allowed):
        raise UserError("a text cannot be written with no token allowed; allow its closing token at least")
    masked = copy.copy(system)
    masked._modules = dict(system._modules)
    masked.heads = nn.ModuleDict({**system.heads, head: RestrictedVocabulary(system.head(head), allowed)})
    return masked
