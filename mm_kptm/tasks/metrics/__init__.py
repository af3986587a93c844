"""Metrics: F1 of classes, tags, spans and mined pairs, BLEU, CIDEr, ranks, VQA accuracy, similarity."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.metrics.captions import CaptionScores, caption_scores, caption_tokens
    from mm_kptm.tasks.metrics.chunks import Chunk, chunk_scores
    from mm_kptm.tasks.metrics.classification import loose, micro
    from mm_kptm.tasks.metrics.discounted_gain import mean_ndcg, ndcg
    from mm_kptm.tasks.metrics.generation import bleu, chrf, sentence_bleu, ter
    from mm_kptm.tasks.metrics.mined_pairs import MinedPair, best_threshold, extracted, pair_scores
    from mm_kptm.tasks.metrics.ranking import over_relations, rank, reciprocal_rank
    from mm_kptm.tasks.metrics.similarity import centred, cosine
    from mm_kptm.tasks.metrics.spans import mlqa_normalised, span_exact_match, span_f1, span_scores, squad_normalised
    from mm_kptm.tasks.metrics.tagging import exact, untyped
    from mm_kptm.tasks.metrics.vqa import answer_vocabulary, normalised, soft_scores, vqa_accuracy
else:
    __getattr__ = lazy(
        __name__,
        {
            "captions": ["CaptionScores", "caption_scores", "caption_tokens"],
            "chunks": ["Chunk", "chunk_scores"],
            "discounted_gain": ["mean_ndcg", "ndcg"],
            "generation": ["bleu", "chrf", "sentence_bleu", "ter"],
            "mined_pairs": ["MinedPair", "best_threshold", "extracted", "pair_scores"],
            "spans": ["mlqa_normalised", "span_exact_match", "span_f1", "span_scores", "squad_normalised"],
            "classification": ["loose", "micro"],
            "ranking": ["over_relations", "rank", "reciprocal_rank"],
            "similarity": ["centred", "cosine"],
            "tagging": ["exact", "untyped"],
            "vqa": ["answer_vocabulary", "normalised", "soft_scores", "vqa_accuracy"],
        },
    )

__all__ = [
    "CaptionScores",
    "Chunk",
    "MinedPair",
    "answer_vocabulary",
    "best_threshold",
    "bleu",
    "caption_scores",
    "caption_tokens",
    "centred",
    "chrf",
    "chunk_scores",
    "cosine",
    "exact",
    "extracted",
    "loose",
    "mean_ndcg",
    "micro",
    "mlqa_normalised",
    "ndcg",
    "normalised",
    "over_relations",
    "pair_scores",
    "rank",
    "reciprocal_rank",
    "sentence_bleu",
    "soft_scores",
    "span_exact_match",
    "span_f1",
    "span_scores",
    "squad_normalised",
    "ter",
    "untyped",
    "vqa_accuracy",
]
