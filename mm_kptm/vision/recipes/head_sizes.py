"""Sizes of heads in published files, by the rows of their layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

HeadSizes = Callable[[Mapping[str, Tensor]], dict[str, dict[str, Any]]]


def rows_of(layers: Mapping[str, Mapping[str, str]], *, more_than: Mapping[str, int] | None = None) -> HeadSizes:
    """Infer sizes of heads from the rows of the layers that these are the sizes of.

    A head that a file does not have keeps its published sizes.

    Args:
        layers: parameter by size, by head.
        more_than: of some heads, a number of rows up to which they are another head under the same published name.

    >>> import torch
    >>> infer = rows_of({"vqa": {"num_answers": "out.bias"}})
    >>> infer({"heads.vqa.out.bias": torch.zeros(7)}), infer({})
    ({'vqa': {'num_answers': 7}}, {})
    """
    least = {} if more_than is None else more_than

    def infer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for head, sizes in layers.items():
            for size, parameter in sizes.items():
                tensor = tensors.get(f"heads.{head}.{parameter}")
                if tensor is not None and len(tensor) > least.get(head, 0):
                    found.setdefault(head, {})[size] = len(tensor)
        return found

    return infer
