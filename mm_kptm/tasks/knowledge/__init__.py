"""Tasks about entities and facts: typing, relations, cloze probing, link prediction."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.knowledge.cloze import CandidateWords, FillBlanks
    from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
    from mm_kptm.tasks.knowledge.link_prediction import LinkPrediction
    from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
    from mm_kptm.tasks.knowledge.triple_classification import TripleClassification
else:
    __getattr__ = lazy(
        __name__,
        {
            "cloze": ["CandidateWords", "FillBlanks"],
            "entity_typing": ["EntityTyping"],
            "link_prediction": ["LinkPrediction"],
            "relation_classification": ["RelationClassification"],
            "triple_classification": ["TripleClassification"],
        },
    )

__all__ = [
    "CandidateWords",
    "EntityTyping",
    "FillBlanks",
    "LinkPrediction",
    "RelationClassification",
    "TripleClassification",
]
