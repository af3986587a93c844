"""Alignment of vectors across languages: margin-based mining of sentence pairs and maps between spaces."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.crosslingual.alignment.contextual_maps import (
        FeedForwardMap,
        LinearMap,
        cosine_loss,
        margin_loss,
        mean_cosine,
        procrustes,
        squared_distance,
    )
    from mm_kptm.crosslingual.alignment.margin_mining import Mined, mine, nearest
    from mm_kptm.crosslingual.alignment.word_pairs import aligned_rows, piece_pairs
else:
    __getattr__ = lazy(
        __name__,
        {
            "contextual_maps": [
                "FeedForwardMap",
                "LinearMap",
                "cosine_loss",
                "margin_loss",
                "mean_cosine",
                "procrustes",
                "squared_distance",
            ],
            "margin_mining": ["Mined", "mine", "nearest"],
            "word_pairs": ["aligned_rows", "piece_pairs"],
        },
    )

__all__ = [
    "FeedForwardMap",
    "LinearMap",
    "Mined",
    "aligned_rows",
    "cosine_loss",
    "margin_loss",
    "mean_cosine",
    "mine",
    "nearest",
    "piece_pairs",
    "procrustes",
    "squared_distance",
]
