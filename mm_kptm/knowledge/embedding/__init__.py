"""Knowledge graph embeddings: training through pykeen, scoring functions, filtered ranks, files."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.embedding.embeddings import Embeddings, load_embeddings, save_embeddings
    from mm_kptm.knowledge.embedding.entity_table import EntityTable
    from mm_kptm.knowledge.embedding.formats import open_embeddings
    from mm_kptm.knowledge.embedding.ranking import Ranks, measures, rank
    from mm_kptm.knowledge.embedding.scoring import ComplEx, DistMult, RotatE, TransE
    from mm_kptm.knowledge.embedding.training import EmbeddingSettings, evaluate_embeddings, train_embeddings
else:
    __getattr__ = lazy(
        __name__,
        {
            "embeddings": ["Embeddings", "load_embeddings", "save_embeddings"],
            "entity_table": ["EntityTable"],
            "formats": ["open_embeddings"],
            "ranking": ["Ranks", "measures", "rank"],
            "scoring": ["ComplEx", "DistMult", "RotatE", "TransE"],
            "training": ["EmbeddingSettings", "evaluate_embeddings", "train_embeddings"],
        },
    )

__all__ = [
    "ComplEx",
    "DistMult",
    "EmbeddingSettings",
    "Embeddings",
    "EntityTable",
    "Ranks",
    "RotatE",
    "TransE",
    "evaluate_embeddings",
    "load_embeddings",
    "measures",
    "open_embeddings",
    "rank",
    "save_embeddings",
    "train_embeddings",
]
