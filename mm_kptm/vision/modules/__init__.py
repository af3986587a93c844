"""Vision-language modules: region embeddings, joint and separate streams, heads over regions."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.modules.assembly import TextBesideRegions, TextThenRegions
    from mm_kptm.vision.modules.embeddings import MeanRegionEmbedding, RegionEmbedding
    from mm_kptm.vision.modules.heads import AttentionPool, ObjectScores, PairedImages, PooledPairs, TiedFeatures
else:
    __getattr__ = lazy(
        __name__,
        {
            "assembly": ["TextBesideRegions", "TextThenRegions"],
            "embeddings": ["MeanRegionEmbedding", "RegionEmbedding"],
            "heads": ["AttentionPool", "ObjectScores", "PairedImages", "PooledPairs", "TiedFeatures"],
        },
        rooms=["single_stream", "two_stream"],
    )

__all__ = [
    "AttentionPool",
    "MeanRegionEmbedding",
    "ObjectScores",
    "PairedImages",
    "PooledPairs",
    "RegionEmbedding",
    "TextBesideRegions",
    "TextThenRegions",
    "TiedFeatures",
    "single_stream",
    "two_stream",
]
