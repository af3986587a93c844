"""Heads on the pooled vector of two fused streams that ViLBERT and VOLTA's models have in common."""

from torch import nn

from mm_kptm.nn.init import bert_init
from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedTwoStream
from mm_kptm.vision.modules.two_stream.region_heads import MatchedFirst


def image_text_matching(encoder: FusedTwoStream) -> MatchedFirst:
    """Mismatched (0) or matched (1) from the pooled vector; published with the two the other way round."""
    head = MatchedFirst(encoder.pooled_dim)
    bert_init(head)
    return head


def retrieval(encoder: FusedTwoStream) -> nn.Linear:
    """One score per pair from the pooled vector; the choices of VCR are scored by it, too."""
    return _linear(encoder.pooled_dim, 1)


def visual_entailment(encoder: FusedTwoStream) -> nn.Linear:
    """Three scores from the pooled vector (SNLI-VE)."""
    return _linear(encoder.pooled_dim, 3)


def _linear(dim: int, num_scores: int) -> nn.Linear:
    head = nn.Linear(dim, num_scores)
    bert_init(head)
    return head
