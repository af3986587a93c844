"""Sentence embeddings: the mean or first state of an encoder, at any depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System

Vectors = Callable[[System, Inputs], Tensor]  #: one vector per sentence, [B, D]


def mean_state(system: System, inputs: Inputs) -> Tensor:
    """The mean of the final states of all tokens, special ones included."""
    layout = _layout(inputs)
    encoded: Encoded = system(inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
    return _means(encoded.text, layout)


def first_state(system: System, inputs: Inputs) -> Tensor:
    """The final state of the first token."""
    starts = _layout(inputs).starts(next(system.parameters()).device)
    encoded: Encoded = system(inputs, OutputRows({"text": starts}, pooled=False))
    return encoded.text


@dataclass(frozen=True)
class MeanAtDepth:
    """The mean of the states after layer ``depth`` (0: the embeddings), of an encoder that reads text alone.

    Translations are most similar in the middle layers: XTREME uses layer 8 of 12 (Hu et al. 2020).
    """

    depth: int

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """One vector per sentence; ``UserError`` when the encoder is not that deep."""
        layout = _layout(inputs)
        for depth, stream in enumerate(system.hidden_states(inputs)):
            if depth == self.depth:
                return _means(stream.x, layout)
        raise UserError(f"the states after layer {self.depth} were asked for, but {system.recipe} has {depth} layers")


def _layout(inputs: Inputs) -> SequenceLayout:
    if inputs.text is None:
        raise UserError("sentence vectors are made of text, but the inputs have none")
    return inputs.text.layout


def _means(rows: Tensor, layout: SequenceLayout) -> Tensor:
    sums = rows.new_zeros(len(layout), rows.shape[-1]).index_add(0, layout.sequence_ids(rows.device), rows)
    return sums / layout.cu_seqlens(rows.device).diff().to(rows.dtype)[:, None]
