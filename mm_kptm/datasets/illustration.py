"""What a data set knows of an example for people to look at, beside what a model reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mm_kptm.report.gallery import Fact


def _as_it_is(label: str) -> str:
    return label


@dataclass(frozen=True, eq=False)
class Illustration:
    """Picture, wording and facts of an example."""

    question: str = ""  #: the text as written; empty: the tokens that are read
    pixels: NDArray[np.uint8] | None = None  #: [H, W, 3]
    regions: tuple[str, ...] = ()  #: names of the regions, in their order
    region: int | None = None  #: index of the region that decides the answer; None where none does alone
    facts: tuple[Fact, ...] | None = None  #: injected facts; None: those that hang in the text
    wording: Callable[[str], str] = _as_it_is  #: an answer in words
