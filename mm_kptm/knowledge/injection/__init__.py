"""Injection of facts into inputs: K-BERT's sentence trees, CoLAKE's word graphs, entities, mention markers."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.injection.candidate_spans import CandidateWordSpans
    from mm_kptm.knowledge.injection.counterfactuals import swapped
    from mm_kptm.knowledge.injection.entity_grid import Mention, Placement
    from mm_kptm.knowledge.injection.ernie_instances import InstanceMaker
    from mm_kptm.knowledge.injection.fact_injector import FactInjector
    from mm_kptm.knowledge.injection.from_links import entity_mentions, grafted_words
    from mm_kptm.knowledge.injection.mention_markers import Annotator
    from mm_kptm.knowledge.injection.sentence_tree import TokenWithFacts, TreeBuilder, Trees
    from mm_kptm.knowledge.injection.word_graph import WordGraph
else:
    __getattr__ = lazy(
        __name__,
        {
            "candidate_spans": ["CandidateWordSpans"],
            "counterfactuals": ["swapped"],
            "entity_grid": ["Mention", "Placement"],
            "ernie_instances": ["InstanceMaker"],
            "fact_injector": ["FactInjector"],
            "from_links": ["entity_mentions", "grafted_words"],
            "mention_markers": ["Annotator"],
            "sentence_tree": ["TokenWithFacts", "TreeBuilder", "Trees"],
            "word_graph": ["WordGraph"],
        },
    )

__all__ = [
    "Annotator",
    "CandidateWordSpans",
    "FactInjector",
    "InstanceMaker",
    "Mention",
    "Placement",
    "TokenWithFacts",
    "TreeBuilder",
    "Trees",
    "WordGraph",
    "entity_mentions",
    "grafted_words",
    "swapped",
]
