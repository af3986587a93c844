"""Heads of ViLBERT and VOLTA: image-text matching and masked-region prediction.

Shapes: B texts, P pooled dim, H masked regions, E dim of the regions' states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Transform
from mm_kptm.nn.sublayers import Activation, NormBuilder, bert_norm


class MatchedFirst(nn.Linear):
    """Matching classifier published as (matched, mismatched); its outputs are swapped to (mismatched, matched).

    The published label 0 means that text and image match; in this suite 1 does.
    """

    def __init__(self, pooled_dim: int) -> None:
        super().__init__(pooled_dim, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """[B, P] -> [B, 2]; column 1 is the score of a match."""
        return super().forward(rows).flip(-1)


class MaskedRegionHead(nn.Module):
    """Masked-region head: one transform, then one linear layer for all targets.

    Args:
        dim: E.
        widths: output width of each target (:data:`~mm_kptm.vision.objectives.region_targets.TARGETS`).
        activation: of the transform.
        normalized: whether the transform ends with a norm; VOLTA's VL-BERT has none.
        norm: that norm.
    """

    def __init__(
        self,
        dim: int,
        widths: Mapping[str, int],
        *,
        activation: str | Activation = "gelu",
        normalized: bool = True,
        norm: NormBuilder = bert_norm,
    ) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.transform = Transform(dim, activation=activation, norm=norm if normalized else _no_norm)
        self.out = nn.ModuleDict({target: nn.Linear(dim, width) for target, width in widths.items()})

    def forward(self, rows: Tensor) -> Tensor:
        """[H, E] -> concatenated outputs of all targets, [H, sum of widths]."""
        x = self.transform(rows)
        return torch.cat([out(x) for out in self.out.values()], dim=1)

    def by_target(self, rows: Tensor) -> dict[str, Tensor]:
        """[H, E] -> for every target [H, width]."""
        return dict(zip(self.widths, self(rows).split(list(self.widths.values()), dim=1), strict=True))


def _no_norm(dim: int) -> nn.Module:
    return nn.Identity()


def chosen_widths(targets: Sequence[str] | str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Output widths of the chosen ``targets``.

    Args:
        targets: names, or one string of names with commas or spaces between them.
        sizes: widths of all targets.

    Raises:
        UserError: there is no such target, or none is chosen.
    """
    names = targets.replace(",", " ").split() if isinstance(targets, str) else list(targets)
    for name in names:
        if name not in sizes:
            raise UserError(f"nothing called {name!r} is predicted of regions; there are {', '.join(sizes)}")
    if not names:
        raise UserError(f"at least one of {', '.join(sizes)} has to be predicted of regions, but none was chosen")
    return {name: sizes[name] for name in names}
