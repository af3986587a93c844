"""Segments that a task adds to those of pretraining."""

from __future__ import annotations

import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


def text_segments(system: System) -> nn.Embedding | None:
    """The table of the text's segments; None where the encoder has none."""
    table = getattr(getattr(getattr(system.encoder, "embed", None), "text", None), "segment", None)
    return table if isinstance(table, nn.Embedding) else None


def grow_segments(system: System, rows: int, *, copy: int) -> None:
    """Extend the table of the text's segments to ``rows`` rows, each a copy of row ``copy`` (Chen et al. 2020, code).

    Raises:
        UserError: the encoder has no segments.
    """
    table = text_segments(system)
    if table is None:
        raise UserError(f"{rows} segments were asked for, but the texts of {system.recipe} have none")
    missing = rows - table.num_embeddings
    if missing <= 0:
        return
    vars(table)["copied_rows"] = dict.fromkeys(range(table.num_embeddings, rows), copy)
    grown = torch.cat([table.weight, table.weight[copy : copy + 1].repeat(missing, 1)]).detach().clone()
    table.weight, table.num_embeddings = nn.Parameter(grown), rows
    system.sizes["num_segments"] = rows


def side_segments(system: System) -> tuple[int, int] | None:
    """Segments of the regions of left and right images; None where the encoder does not tell regions apart.

    Regions that share the table of the text's segments (UNITER) have rows 1 and 2, of which the second starts as a copy
    of the first if the table lacks it, as in the released code; those with a table of their own (VisualBERT) 0 and 1.
    """
    table = getattr(getattr(getattr(system.encoder, "embed", None), "regions", None), "segment", None)
    if not isinstance(table, nn.Embedding):
        return None
    if table is not text_segments(system):
        return (0, 1)
    grow_segments(system, 3, copy=1)
    return (1, 2)
