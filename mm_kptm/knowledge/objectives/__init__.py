"""Knowledge-enhanced pretraining objectives, from masked entities to knowledge embedding."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.objectives.entity_denoising import EntityDenoising
    from mm_kptm.knowledge.objectives.entity_linking import EntityLinking
    from mm_kptm.knowledge.objectives.entity_replacement import EntityReplacement
    from mm_kptm.knowledge.objectives.fact_completion import FactCompletion
    from mm_kptm.knowledge.objectives.knowledge_embedding import DescribedGraph, KnowledgeEmbedding
    from mm_kptm.knowledge.objectives.label_aware_mlm import LabelAwareWords
    from mm_kptm.knowledge.objectives.lexical_relation import LexicalRelation
    from mm_kptm.knowledge.objectives.masked_candidates import MaskedTokensAndCandidates
    from mm_kptm.knowledge.objectives.masked_ngrams import MaskedTokensAmongNgrams
    from mm_kptm.knowledge.objectives.masked_nodes import MaskedNodes
    from mm_kptm.knowledge.objectives.masked_senses import MaskedSenses
    from mm_kptm.knowledge.objectives.mention_classification import MarkedRelation, MarkedTyping, WordInContext
else:
    __getattr__ = lazy(
        __name__,
        {
            "entity_denoising": ["EntityDenoising"],
            "entity_linking": ["EntityLinking"],
            "entity_replacement": ["EntityReplacement"],
            "fact_completion": ["FactCompletion"],
            "knowledge_embedding": ["DescribedGraph", "KnowledgeEmbedding"],
            "label_aware_mlm": ["LabelAwareWords"],
            "lexical_relation": ["LexicalRelation"],
            "masked_candidates": ["MaskedTokensAndCandidates"],
            "masked_ngrams": ["MaskedTokensAmongNgrams"],
            "masked_nodes": ["MaskedNodes"],
            "masked_senses": ["MaskedSenses"],
            "mention_classification": ["MarkedRelation", "MarkedTyping", "WordInContext"],
        },
    )

__all__ = [
    "DescribedGraph",
    "EntityDenoising",
    "EntityLinking",
    "EntityReplacement",
    "FactCompletion",
    "KnowledgeEmbedding",
    "LabelAwareWords",
    "LexicalRelation",
    "MarkedRelation",
    "MarkedTyping",
    "MaskedNodes",
    "MaskedSenses",
    "MaskedTokensAmongNgrams",
    "MaskedTokensAndCandidates",
    "WordInContext",
]
