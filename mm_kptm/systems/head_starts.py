"""What heads of fine-tuning start from, where the published training starts them from heads of pretraining."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

HeadStart = Callable[[Mapping[str, "Tensor"]], Mapping[str, "Tensor"]]  #: tensors of a checkpoint -> those of a head


def head_rows(head: str, prefix: str = "", rows: slice = slice(None)) -> HeadStart:
    """Start a head from another one: from its parameters below ``prefix``, and of each from the given rows."""
    beginning = f"heads.{head}."

    def start(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = [name for name in tensors if name.startswith(beginning + prefix)]
        return {name.removeprefix(beginning): tensors[name][rows] for name in names}

    return start
