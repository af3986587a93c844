"""Knowledge masking: words, phrases and entities are masked as whole units (Sun et al. 2019, Baidu's ERNIE).

Pretraining has three stages (section 3.2): characters, then phrases, then entities are masked. A stage is a file of
texts with a label per token (:mod:`mm_kptm.data.masking.units`): later stages have longer units.

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

Reading = Callable[[Sequence[int]], list[int]]  #: masking units of a text from its labels

_COLUMNS = ("token ids", "segments", "positions", "labels")


@dataclass(frozen=True)
class LabelledText:
    """Tokens of one or two texts with labels that begin a unit, continue one, or are outside."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    positions: tuple[int, ...]
    labels: tuple[int, ...]
    follows: bool  #: whether the second text follows the first: class 1 of ERNIE's next-sentence head


def read_labelled(path: str | Path, *, max_length: int = 512) -> Iterator[LabelledText]:
    """Read a pretraining file of ERNIE, plain or compressed; texts of more than ``max_length`` tokens are skipped.

    A line is five fields separated by semicolons: token ids, segments, positions, unit labels (0 begin, 1 inside, -1
    separator), each with spaces between its numbers, and 1 where the second text follows the first.

    Raises:
        UserError: there is no such file, it is damaged, or a line is malformed; the message names the line.
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
    if unknown := set(labels) - {OUTSIDE, BEGIN, INSIDE}:
        raise UserError(f"{where} has the label {min(unknown)}; 0 begins a unit, 1 continues it, -1 is a separator")
    return LabelledText(ids, segments, positions, labels, follows == 1)


def tokens_in_units(
    texts: Sequence[LabelledText],
    whole: Sequence[bool],
    *,
    separators: frozenset[int] = frozenset({1, 2}),
    units: Reading = labelled,
) -> Tokens:
    """Collate texts of one or several stages with their masking units.

    Args:
        texts: texts of the batch.
        whole: whether the units of a text are masked as a whole; else token by token, never the ``separators``.
        separators: ids of ``[CLS]`` and ``[SEP]``.
        units: reads labels as units; :func:`~mm_kptm.data.masking.units.closed` is the released code's rule.
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
    """Masking draws of the released code: one number per row decides whether its unit is masked and how.

    The number of a unit's first row decides for the unit. If it is below ``rate``, its value also decides between mask,
    replacement and keeping for that row; the other rows use their own numbers.

    Args:
        uniform: uniform in [0, 1), [T].
        instead: draws of the replacement tokens, uniform in [0, 1), [T].
        units: unit of every row, -1 for none, [T].
        rate: mask rate of the policy that uses the draws.
    """
    rows = torch.arange(len(units))
    outside = units < 0
    numbers = torch.where(outside, 0, units)
    firsts = torch.full((int(numbers.max()) + 1 if len(units) else 0,), len(units))
    firsts = firsts.scatter_reduce(0, numbers[~outside], rows[~outside], "amin")
    first = torch.where(outside, rows, firsts[numbers])
    treat = torch.where(first == rows, (rate - uniform) / rate, 1 - uniform)
    return MaskingDraws(choose=uniform[first], treat=treat, replace=instead)
