"""Attention masks of ERNIE-M's pretraining: tokens predicted from a translation alone.

Shapes: T rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import AttentionMask, SequenceLayout, Tokens
from mm_kptm.errors import UserError


@dataclass(frozen=True, eq=False)
class CrossSentence(AttentionMask):
    """CAMLM mask: a masked row attends to itself and the unmasked rows of the other sentence, other rows to all.

    An interpretation of Ouyang et al. (2021, section 3.1): masked tokens do not attend to their own sentence.

    >>> pair = CrossSentence(sides=torch.tensor([0, 0, 1, 1]), masked=torch.tensor([False, True, False, True]))
    >>> rows = torch.arange(4)
    >>> pair.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 1, 1, 1],
            [0, 1, 1, 0],
            [1, 1, 1, 1],
            [1, 0, 0, 1]], dtype=torch.int32)
    """

    sides: Tensor  #: sentence index of a row in its pair, [T]
    masked: Tensor  #: true where masked, [T]

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        across = (self.sides[queries] != self.sides[sources]) & ~self.masked[sources]
        return ~self.masked[queries] | across | (queries == sources)

    def scatter(self, places: Tensor, total: int) -> CrossSentence:
        sides = self.sides.new_full((total,), -1)
        masked = torch.zeros(total, dtype=torch.bool, device=places.device)
        sides[places], masked[places] = self.sides, self.masked
        return CrossSentence(sides, masked)


@dataclass(frozen=True, eq=False)
class Appended(AttentionMask):
    """Appended rows attend to the text and themselves, the text to itself (first stage of back-translation MLM).

    >>> text = Appended(torch.tensor([False, False, True, True]))
    >>> rows = torch.arange(4)
    >>> text.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
            [1, 1, 0, 1]], dtype=torch.int32)
    """

    appended: Tensor  #: true where appended, [T]

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return ~self.appended[sources] | (queries == sources)

    def scatter(self, places: Tensor, total: int) -> Appended:
        appended = torch.zeros(total, dtype=torch.bool, device=places.device)
        appended[places] = self.appended
        return Appended(appended)


def with_appended(tokens: Tokens, count: int, mask: int) -> Tokens:
    """Append ``count`` mask tokens to each text, with continued positions.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f"at least one pseudo token is appended to a text, not {count}")
    device = tokens.ids.device
    layout = SequenceLayout(tuple(length + count for length in tokens.layout.lengths))
    lengths = torch.tensor(tokens.layout.lengths, device=device)
    sequence_ids, places = layout.sequence_ids(device), layout.offsets_in_sequence(device)
    appended = places >= lengths[sequence_ids]
    ids = torch.full_like(sequence_ids, mask)
    ids[~appended] = tokens.ids
    segments = torch.zeros_like(sequence_ids)
    segments[~appended] = tokens.segments
    return Tokens(ids=ids, layout=layout, positions=places, segments=segments, attention_mask=Appended(appended))


def with_cross_sentence_mask(hidden: Tokens, rows: Tensor, sides: Tensor) -> Tokens:
    """Pairs with the attention mask that predicts masked rows from the other sentence.

    Args:
        hidden: tokens with masks.
        rows: masked rows, [P].
        sides: sentence index of a row in its pair, [T].
    """
    masked = torch.zeros(hidden.rows, dtype=torch.bool, device=rows.device)
    masked[rows] = True
    return replace(hidden, attention_mask=CrossSentence(sides, masked))
