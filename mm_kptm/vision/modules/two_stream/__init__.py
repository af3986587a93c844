"""Parts of two-stream encoders: ViLBERT, 12-in-1 and VOLTA."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.modules.two_stream.coattention import GuidedAttention, GuidedStep
    from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedTwoStream
    from mm_kptm.vision.modules.two_stream.gated_attention import GatedStep
    from mm_kptm.vision.modules.two_stream.sublayer_schedule import Sublayer
    from mm_kptm.vision.modules.two_stream.volta_embeddings import volta_embedding
    from mm_kptm.vision.modules.two_stream.whole_image import TextBesideImage
else:
    __getattr__ = lazy(
        __name__,
        {
            "coattention": ["GuidedAttention", "GuidedStep"],
            "fused_two_stream": ["FusedTwoStream"],
            "gated_attention": ["GatedStep"],
            "sublayer_schedule": ["Sublayer"],
            "volta_embeddings": ["volta_embedding"],
            "whole_image": ["TextBesideImage"],
        },
    )

__all__ = [
    "FusedTwoStream",
    "GatedStep",
    "GuidedAttention",
    "GuidedStep",
    "Sublayer",
    "TextBesideImage",
    "volta_embedding",
]
