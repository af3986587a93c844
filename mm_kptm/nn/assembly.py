"""Assembly of the input streams into the one sequence that a single-stream encoder reads.

An embedder turns :class:`~mm_kptm.batch.Inputs` into an :class:`Assembled` sequence; the encoder knows no modalities.

Shapes: T token rows, L and R rows of two streams to be joined, D dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, NO_ROWS, Inputs, Rows, SequenceLayout, Tokens
from mm_kptm.batch.rows import copied
from mm_kptm.errors import UserError
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.visibility import Branches


class Assembled(NamedTuple):
    """An embedded sequence and, by stream, the rows that it occupies."""

    stream: Stream
    parts: Mapping[str, Rows]  #: rows of each input stream in the sequence, by stream name

    @property
    def text(self) -> Rows:
        """Rows of the sequence that hold the tokens, in order."""
        return self.parts.get("text", NO_ROWS)


class JoinedLayout(NamedTuple):
    """Two layouts concatenated sequence by sequence, left part first."""

    layout: SequenceLayout
    left: Tensor  #: row of each left row in the joined layout, [L]
    right: Tensor  #: row of each right row in the joined layout, [R]
    order: Tensor  #: gather index of the joined rows into the concatenated left and right rows, [L + R]

    def rows(self, left: Tensor, right: Tensor) -> Tensor:
        """The joined rows [L + R, D]."""
        return torch.cat([left, right.to(left.dtype)]).index_select(0, self.order)


def join(left: SequenceLayout, right: SequenceLayout, device: torch.device) -> JoinedLayout:
    """Concatenate the left and right sequences of the same index, without padding in between.

    Raises:
        UserError: the two do not hold the same number of sequences.
    """
    if len(left) != len(right):
        raise UserError(f"{len(left)} sequences cannot be joined with {len(right)}: every one needs its companion")
    layout = SequenceLayout(tuple(a + b for a, b in zip(left.lengths, right.lengths, strict=True)))
    host = torch.device("cpu")
    starts, sizes = layout.starts(host), left.cu_seqlens(host).long().diff()
    right_ids = right.sequence_ids(host)
    left_rows = starts[left.sequence_ids(host)] + left.offsets_in_sequence(host)
    right_rows = starts[right_ids] + sizes[right_ids] + right.offsets_in_sequence(host)
    order = torch.empty(layout.total, dtype=torch.long)
    order[left_rows] = torch.arange(left.total)
    order[right_rows] = torch.arange(left.total, layout.total)
    return JoinedLayout(layout, *(copied(rows, device) for rows in (left_rows, right_rows, order)))


def required_text(inputs: Inputs) -> Tokens:
    """The text of the inputs.

    Raises:
        UserError: there is none.
    """
    return inputs.required("text", Tokens)


def refuse_branches(text: Tokens, name: str) -> None:
    """Refuse facts that hang from words, in an encoder without attention.

    Raises:
        UserError: the text has branches.
    """
    if isinstance(text.attention_mask, Branches):
        raise UserError(
            f"{name} reads words one after the other, which leaves no room for facts that hang from them; take a "
            "system with layers of attention"
        )


class TextOnly(nn.Module):
    """Embedder of a text encoder: the embedded tokens are the sequence."""

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, inputs: Inputs) -> Assembled:
        tokens = required_text(inputs)
        return Assembled(Stream.of(self.text(tokens), tokens.layout, tokens.attention_mask), {"text": EVERY_ROW})
