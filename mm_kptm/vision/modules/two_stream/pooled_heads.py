"""Heads on the fused pooled vector, shared by ViLBERT and VOLTA's models."""

from torch import nn

from mm_kptm.nn.init import bert_init
from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedTwoStream
from mm_kptm.vision.modules.two_stream.region_heads import MatchedFirst


def image_text_matching(encoder: FusedTwoStream) -> MatchedFirst:
    """Mismatched (0) or matched (1) from the pooled vector; the published classes are swapped."""
    head = MatchedFirst(encoder.pooled_dim)
    bert_init(head)
    return head


def retrieval(encoder: FusedTwoStream) -> nn.Linear:
    """One logit per pair from the pooled vector; also for the answer choices of VCR."""
    return _linear(encoder.pooled_dim, 1)


def visual_entailment(encoder: FusedTwoStream) -> nn.Linear:
    """Three-way classifier on the pooled vector (SNLI-VE)."""
    return _linear(encoder.pooled_dim, 3)


def _linear(dim: int, num_scores: int) -> nn.Linear:
    head = nn.Linear(dim, num_scores)
    bert_init(head)
    return head
