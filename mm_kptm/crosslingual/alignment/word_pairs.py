"""Aligned word pieces of translations, from the output of fast_align, and their contextual vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from mm_kptm.errors import UserError

Policy = Literal["1to1", "first", "mid", "last"]

_CHOICES: dict[str, Callable[[Sequence[int]], int]] = {
    "first": lambda places: places[0],
    "mid": lambda places: places[len(places) // 2],
    "last": lambda places: places[-1],
}


def piece_pairs(line: str, policy: Policy = "1to1", *, offset: int = 1, place: str = "") -> Tensor:
    """The pairs (source, target) [P, 2] of an alignment line that a policy keeps, each piece in one pair at most.

    Args:
        line: pairs ``i-j`` of piece numbers from 0, without special tokens.
        policy: ``1to1`` drops every pair of a piece that stands in several; the others keep one target per source, the
            first, middle or last by place, then one source per target by appearance (Wang et al. 2019, released code).
        offset: added to all places, 1 for the ``[CLS]`` before the text.
        place: where the line stands, with a comma and a blank behind, for messages.

    Raises:
        UserError: unknown policy, or a part of the line is no pair of numbers.

    >>> piece_pairs("0-0 1-1 2-1").tolist(), piece_pairs("0-0 1-1 2-1", "last").tolist()
    ([[1, 1]], [[1, 1], [3, 2]])
    """
    pairs = [_pair(part, line, place) for part in line.split()]
    if policy == "1to1":
        sources, targets = Counter(source for source, _ in pairs), Counter(target for _, target in pairs)
        kept = [(source, target) for source, target in pairs if sources[source] == 1 and targets[target] == 1]
    elif policy in _CHOICES:
        choose = _CHOICES[policy]
        targets_of: dict[int, list[int]] = {}
        for source, target in pairs:
            targets_of.setdefault(source, []).append(target)
        sources_of: dict[int, list[int]] = {}
        for source, found in targets_of.items():
            sources_of.setdefault(choose(sorted(found)), []).append(source)
        kept = [(choose(found), target) for target, found in sources_of.items()]
    else:
        raise UserError(f"{policy!r} is no policy for pieces aligned more than once; choose 1to1, first, mid or last")
    return torch.tensor(kept, dtype=torch.long).view(-1, 2) + offset


def _pair(part: str, line: str, place: str) -> tuple[int, int]:
    source, _, target = part.partition("-")
    if not (source.isdecimal() and target.isdecimal()):
        raise UserError(
            f"{place}the alignment {line[:80]!r} holds {part!r}, which is no pair; i-j with numbers from 0 is expected"
        )
    return int(source), int(target)


def aligned_rows(states: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    """The vectors [N, D] at the aligned places of every text, text by text, in alignment order.

    Args:
        states: contextual vectors [B, T, D].
        places: positions [B, P], of one side of the pairs.
        mask: which of them are pairs [B, P]; padding never enters a fit.
    """
    texts = torch.arange(len(states), device=states.device)[:, None].expand_as(places)
    real = mask.bool()
    return states[texts[real], places[real]]
