"""Attention mask of caption generation.

Shapes: T rows of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import AttentionMask


@dataclass(frozen=True, eq=False)
class CausalCaption(AttentionMask):
    """Caption rows attend to themselves, earlier caption rows and all other rows, which do not attend to the caption.

    The mask of Oscar's captioning (Li et al. 2020, section 4): tags and regions attend to each other.

    >>> mask = CausalCaption(torch.tensor([True, True, False]))
    >>> rows = torch.arange(3)
    >>> mask.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 0, 1],
            [1, 1, 1],
            [0, 0, 1]], dtype=torch.int32)
    """

    caption: Tensor  #: true where the row is a word of the caption, [T]

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return ~self.caption[sources] | (self.caption[queries] & (queries >= sources))

    def scatter(self, places: Tensor, total: int) -> CausalCaption:
        caption = torch.zeros(total, dtype=torch.bool, device=places.device)
        caption[places] = self.caption
        return CausalCaption(caption)
