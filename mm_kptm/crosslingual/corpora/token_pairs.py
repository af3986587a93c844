"""Sentences and their translations as tokens of one sequence, with the span of each.

Shapes: B pairs, T rows of the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.errors import UserError


@dataclass(frozen=True, eq=False)
class TokenPairs(Movable):
    """Concatenated pairs, and where their sentences lie without special tokens."""

    tokens: Tokens
    spans: Tensor  #: first source row, end of source, first target row, end of target, over the batch, [B, 4]

    def sides(self) -> Tensor:
        """0 for rows up to the end of the first sentence of a pair, 1 from the second sentence on, [T]."""
        firsts = self.spans[:, 2][self.tokens.layout.sequence_ids(self.spans.device)]
        return (torch.arange(self.tokens.rows, device=self.spans.device) >= firsts).long()


def both_sides(inputs: Inputs, name: str) -> tuple[Tokens, Tokens]:
    """The texts and their translations, the text and the target of the inputs.

    Args:
        inputs: inputs of translation pairs.
        name: objective that reads them, for messages.

    Raises:
        UserError: there is no text or no target, or they differ in number.
    """
    text, target = inputs.text, inputs.target
    if text is None or target is None:
        raise UserError(f"{name} reads a text and its translation, so the inputs need a text and a target")
    if len(text.layout) != len(target.layout):
        raise UserError(f"every text needs its translation, but there are {len(text.layout)} and {len(target.layout)}")
    return text, target


def concatenated(
    sources: Tokens, translations: Tokens, *, separators: Sequence[int] = (), opens: bool = True
) -> TokenPairs:
    """Pairs ``<s> a </s> b </s>`` with continued positions, from sentences framed as ``<s> a </s>``.

    Args:
        sources: the first sentences.
        translations: the second ones; their first tokens are left out.
        separators: further tokens between the two, such as RoBERTa's second ``</s>``.
        opens: whether sentences begin with ``<s>``; without it, nothing is left out.

    >>> pairs = concatenated(Tokens.of([[0, 7, 2]]), Tokens.of([[0, 8, 9, 2]]), separators=[2])
    >>> pairs.tokens.ids.tolist(), pairs.spans.tolist(), pairs.sides().tolist()
    ([0, 7, 2, 2, 8, 9, 2], [[1, 2, 4, 6]], [0, 0, 0, 0, 1, 1, 1])
    """
    ids, spans, start = [], [], 0
    extra = [*separators]
    for first, second in zip(*(_lists(side, side.ids) for side in (sources, translations)), strict=True):
        ids.append([*first, *extra, *second[opens:]])
        border = start + len(first)
        behind = border + len(extra)
        spans.append([start + opens, border - 1, behind, behind + len(second) - 1 - opens])
        start += len(ids[-1])
    languages = None
    if sources.languages is not None and translations.languages is not None:
        both = _lists(sources, sources.languages), _lists(translations, translations.languages)
        languages = [[*first, *second[:1] * len(extra), *second[opens:]] for first, second in zip(*both, strict=True)]
    device = sources.ids.device
    pairs = Tokens.of(ids, languages=languages).to(device)
    return TokenPairs(pairs, torch.tensor(spans, dtype=torch.long, device=device).view(-1, 4))


def _lists(tokens: Tokens, numbers: Tensor) -> list[list[int]]:
    return [part.tolist() for part in tokens.layout.split(numbers)]
