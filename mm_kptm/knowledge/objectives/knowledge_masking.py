"""Knowledge masking: what a text knows of its words, phrases and entities is told by hiding them whole.

Sun et al. (2019, ERNIE of Baidu, section 3.2) pretrain in three stages: characters, then phrases, then entities are
hidden. A stage is a file of texts whose pieces carry labels (:mod:`mm_kptm.data.masking.units`): longer units, later
stage.

Shapes: T token rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.batch import Tokens
from mm_kptm.data.masking.units import BEGIN, INSIDE, NO_GROUP, OUTSIDE, labelled
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.objectives.tokens import MaskingDraws

Reading = Callable[[Sequence[int]], list[int]]  #: the units of a text from its labels

_COLUMNS = ("token ids", "segments", "positions", "labels")


@dataclass(frozen=True)
class LabelledText:
    """A text, or two, in pieces that know whether they begin a unit, continue one, or are in none."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    positions: tuple[int, ...]
    labels: tuple[int, ...]
    follows: bool  #: the second text follows the first: class 1 of ERNIE's next-sentence head


def read_labelled(path: str | Path, *, max_length: int = 512) -> Iterator[LabelledText]:
    """The texts of one of ERNIE's pretraining files, plain or packed, but none of more than ``max_length`` pieces.

    A line is five fields set apart by semicolons: token ids, segments, positions, labels of units (0 begin, 1 inside,
    -1 separator), each with blanks between its numbers, and 1 where the second text follows the first.

    Raises:
        UserError: no such file, a torn one, or a line is not of that form; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"labelled texts were looked for in {path}, but there is no such file")
    for place, line in numbered_lines(path):
        text = _parsed(line, f"{path}, line {place}")
        if len(text.ids) <= max_length:
            yield text


def _parsed(line: str, where: str) -> LabelledText:
    fields = line.strip().split(";")
    if len(fields) != 5:
        raise UserError(f"{where} has {len(fields)} fields; {', '.join(_COLUMNS)} and a class make five")
    try:
        *columns, (follows,) = [tuple(map(int, field.split())) for field in fields]
    except ValueError:
        raise UserError(f"{where} should hold whole numbers, and one number in its last field") from None
    for name, column in zip(_COLUMNS[1:], columns[1:], strict=True):
        if len(column) != len(columns[0]):
            raise UserError(f"{where} has {len(columns[0])} token ids but {len(column)} {name}")
    ids, segments, positions, labels = columns
    if strange := set(labels) - {OUTSIDE, BEGIN, INSIDE}:
        raise UserError(f"{where} has the label {min(strange)}; 0 begins a unit, 1 continues it, -1 is a separator")
    return LabelledText(ids, segments, positions, labels, follows == 1)


def tokens_in_units(
    texts: Sequence[LabelledText],
    whole: Sequence[bool],
    *,
    separators: frozenset[int] = frozenset({1, 2}),
    units: Reading = labelled,
) -> Tokens:
    """What an encoder reads and the masking engine hides, from texts of one or several stages.

    Args:
        texts: of a batch.
        whole: whether the units of a text are hidden whole; else each piece by itself, those of ``separators`` never.
        separators: ids of ``[CLS]`` and ``[SEP]``.
        units: how labels are read; :func:`~mm_kptm.data.masking.units.closed` as the released code does.
    """
    numbers = [
        units(text.labels) if together else _pieces(text.ids, separators)
        for text, together in zip(texts, whole, strict=True)
    ]
    return Tokens.of(
        [text.ids for text in texts],
        positions=[text.positions for text in texts],
        segments=[text.segments for text in texts],
        mask_groups=numbers,
    )


def _pieces(ids: Sequence[int], separators: frozenset[int]) -> list[int]:
    return [NO_GROUP if token in separators else place for place, token in enumerate(ids)]


def one_draw_each(uniform: Tensor, instead: Tensor, units: Tensor, *, rate: float = 0.15) -> MaskingDraws:
    """The released code's draws: one number a row decides whether its unit is hidden and how the row is treated.

    The number of a unit's first row decides for the unit. Where it does, it lies below ``rate``, and its place there
    also decides between mask, replacement and keeping for that row; the other rows have numbers of their own.

    Args:
        uniform: between 0 and 1, [T].
        instead: what stands for the random token, between 0 and 1, [T].
        units: of every row, -1 for none, [T].
        rate: of the policy that reads the draws.
    """
    rows = torch.arange(len(units))
    unitless = units < 0
    numbers = torch.where(unitless, 0, units)
    firsts = torch.full((int(numbers.max()) + 1 if len(units) else 0,), len(units))
    firsts = firsts.scatter_reduce(0, numbers[~unitless], rows[~unitless], "amin")
    first = torch.where(unitless, rows, firsts[numbers])
    treat = torch.where(first == rows, (rate - uniform) / rate, 1 - uniform)
    return MaskingDraws(choose=uniform[first], treat=treat, replace=instead)
