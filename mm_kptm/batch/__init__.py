"""Batches: ragged streams of tokens and regions, the inputs of a model and its outputs.

A stream holds the rows of all its sequences end to end; a :class:`SequenceLayout` says where each one lies. Streams are
keyed by name in :class:`Inputs`, :class:`OutputRows` and :class:`Encoded`. Padding exists only at the edges:
:meth:`Tokens.padded` and :meth:`Regions.padded` take padded tensors in, :func:`pad` gives them back.
"""

from mm_kptm.batch.inputs import (
    ALL_ROWS,
    EVERY_ROW,
    NO_ROWS,
    POOLED_ONLY,
    Encoded,
    Inputs,
    OutputRows,
    Rows,
    row_numbers,
)
from mm_kptm.batch.rows import AttentionMask, Movable, SequenceLayout, layout_of, pad, unpad
from mm_kptm.batch.streams import Candidates, Detected, Entities, Images, InputStream, Regions, Tokens, apart

__all__ = [
    "ALL_ROWS",
    "EVERY_ROW",
    "NO_ROWS",
    "POOLED_ONLY",
    "AttentionMask",
    "Candidates",
    "Detected",
    "Encoded",
    "Entities",
    "Images",
    "InputStream",
    "Inputs",
    "Movable",
    "OutputRows",
    "Regions",
    "Rows",
    "SequenceLayout",
    "Tokens",
    "apart",
    "layout_of",
    "pad",
    "row_numbers",
    "unpad",
]
