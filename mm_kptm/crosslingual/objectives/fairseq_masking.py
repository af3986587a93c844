"""fairseq's token masking, as in XLM-R and its successors.

Shapes: T token rows, P masked rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError


@dataclass(frozen=True)
class FairseqMasking:
    """A share of every sequence without replacement, special tokens included (fairseq's MaskTokensDataset).

    ``floor(rate * length + u)`` tokens with u uniform below 1, so that the share is met on average. Of these, each by
    itself, ``keep_share`` stay, ``random_share`` become a random token, the others the mask.

    Args:
        mask_id: id of the mask token.
        vocab_size: random tokens are drawn below it, the mask among them.
        rate: share of the tokens of a sequence that is masked.
        num_specials: ids below it are not drawn as random tokens.
        keep_share: share of the masked tokens that stay unchanged.
        random_share: share that becomes a random token.

    Raises:
        UserError: a share is out of range.
    """

    mask_id: int
    vocab_size: int
    rate: float = 0.15
    num_specials: int = 4
    keep_share: float = 0.1
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if (
            not 0 < self.rate < 1
            or self.keep_share < 0
            or self.random_share < 0
            or self.keep_share + self.random_share > 1
        ):
            raise UserError(
                f"rate, keep_share and random_share are shares of the tokens, but rate is {self.rate}, "
                f"keep_share {self.keep_share} and random_share {self.random_share}"
            )

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the masked rows in order, [P]."""
        lengths = torch.tensor(tokens.layout.lengths, dtype=torch.double)
        draws = torch.rand(len(lengths), generator=generator, dtype=torch.double)
        counts = (self.rate * lengths + draws).long().tolist()
        orders = (torch.randperm(length, generator=generator) for length in tokens.layout.lengths)
        chosen = [
            first + order[:count] for first, order, count in zip(tokens.layout.offsets, orders, counts, strict=False)
        ]
        rows = torch.cat([*chosen, torch.zeros(0, dtype=torch.long)]).sort().values
        treat = torch.rand(len(rows), generator=generator)
        random = torch.randint(self.num_specials, self.vocab_size, (len(rows),), generator=generator)
        shown = torch.where(treat < self.keep_share, tokens.ids[rows], random)
        ids = tokens.ids.clone()
        ids[rows] = torch.where(treat < self.keep_share + self.random_share, shown, self.mask_id)
        return replace(tokens, ids=ids), rows
