"""Metrics: F1 of classes and of tagged spans, ranks, VQA accuracy, similarity."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.metrics.classification import loose, micro
    from mm_kptm.tasks.metrics.ranking import over_relations, rank, reciprocal_rank
    from mm_kptm.tasks.metrics.similarity import centred, cosine
    from mm_kptm.tasks.metrics.tagging import exact, untyped
    from mm_kptm.tasks.metrics.vqa import answer_vocabulary, normalised, soft_scores, vqa_accuracy
else:
    __getattr__ = lazy(
        __name__,
        {
            "classification": ["loose", "micro"],
            "ranking": ["over_relations", "rank", "reciprocal_rank"],
            "similarity": ["centred", "cosine"],
            "tagging": ["exact", "untyped"],
            "vqa": ["answer_vocabulary", "normalised", "soft_scores", "vqa_accuracy"],
        },
    )

__all__ = [
    "answer_vocabulary",
    "centred",
    "cosine",
    "exact",
    "loose",
    "micro",
    "normalised",
    "over_relations",
    "rank",
    "reciprocal_rank",
    "soft_scores",
    "untyped",
    "vqa_accuracy",
]
