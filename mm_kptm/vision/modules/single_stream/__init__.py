"""Parts of single-stream encoders: VisualBERT, Oscar, VL-BERT, VLP and Pixel-BERT."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.modules.single_stream.caption_decoding import beam_search, greedy_search
    from mm_kptm.vision.modules.single_stream.concatenated_pairs import ConcatenatedPairs
    from mm_kptm.vision.modules.single_stream.grid_features import CellEmbedding
    from mm_kptm.vision.modules.single_stream.phrase_attention import PhraseAttention
    from mm_kptm.vision.modules.single_stream.visual_features import VisualFeatureEmbedding
    from mm_kptm.vision.modules.single_stream.vl_bert_embedding import VlBertEmbedding
    from mm_kptm.vision.modules.single_stream.vlp_embedding import VlpEmbedding
else:
    __getattr__ = lazy(
        __name__,
        {
            "caption_decoding": ["beam_search", "greedy_search"],
            "concatenated_pairs": ["ConcatenatedPairs"],
            "grid_features": ["CellEmbedding"],
            "phrase_attention": ["PhraseAttention"],
            "visual_features": ["VisualFeatureEmbedding"],
            "vl_bert_embedding": ["VlBertEmbedding"],
            "vlp_embedding": ["VlpEmbedding"],
        },
    )

__all__ = [
    "CellEmbedding",
    "ConcatenatedPairs",
    "PhraseAttention",
    "VisualFeatureEmbedding",
    "VlBertEmbedding",
    "VlpEmbedding",
    "beam_search",
    "greedy_search",
]
