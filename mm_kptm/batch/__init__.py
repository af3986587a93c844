"""Values that travel through the house: ragged streams of tokens and regions, and the inputs of a model.

A stream holds the rows of all its sequences end to end; a :class:`Layout` says where each one lies. Padding exists
only at the edges: :meth:`Tokens.padded` and :meth:`Regions.padded` take padded tensors in, :func:`pad` gives them back.
"""

from mm_kptm.batch.inputs import ALL, EVERYTHING, NONE, POOLED, Encoded, Inputs, Rows, Wanted
from mm_kptm.batch.rows import Layout, Movable, Visibility, layout_of, pad, unpad
from mm_kptm.batch.streams import Candidates, Detected, Entities, Images, Regions, Tokens, apart

__all__ = [
    "ALL",
    "EVERYTHING",
    "NONE",
    "POOLED",
    "Candidates",
    "Detected",
    "Encoded",
    "Entities",
    "Images",
    "Inputs",
    "Layout",
    "Movable",
    "Regions",
    "Rows",
    "Tokens",
    "Visibility",
    "Wanted",
    "apart",
    "layout_of",
    "pad",
    "unpad",
]
