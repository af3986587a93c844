"""LIBERT: BERT that also learns lexical similarity of word pairs."""

from collections import OrderedDict

from torch import nn

from mm_kptm.knowledge.objectives.lexical_relation import LexicalRelation
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.recipes.bert import BERT_BASE
from mm_kptm.systems.recipe import Recipe


def lexical_relation(encoder: SingleStream, *, num_classes: int = 2, dropout: float = 0.1) -> nn.Sequential:
    """Dropout and a linear layer on the pooled state of two words; 0 = related, 1 = not (Lauscher et al. 2020)."""
    parts: list[tuple[str, nn.Module]] = [
        ("drop", nn.Dropout(dropout)),
        ("out", nn.Linear(encoder.dim, num_classes)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


LIBERT = Recipe(
    name="libert-base",
    family="libert",
    paper="Lauscher et al. 2020, Specializing Unsupervised Pretraining Models for Word-Level Semantic Similarity, "
    "COLING, arXiv:1909.02339",
    build=BERT_BASE.build,
    reads=BERT_BASE.reads,
    heads={**BERT_BASE.heads, LexicalRelation.name: lexical_relation},
    objectives=(*BERT_BASE.objectives, LexicalRelation.name),
    weights=BERT_BASE.weights,
    config_keys=BERT_BASE.config_keys,
    notes=(
        "BERT-base with a third objective (mm_kptm.knowledge.objectives.lexical_relation), pretrained from scratch",
        "no weights were published: the map is BERT's, to start from a BERT with fresh=['heads.lexical-relation.']",
        "the released script makes two negatives from every related one, (a, nearest to a) and (b, nearest to b), from "
        "batches of 32; ours are as large as the batch of texts, and sampled anew for every batch",
        "related words are WordNet's here; the paper adds those of Roget's thesaurus (as recalled)",
        "texts and pairs of words are summed in one loss; the paper alternates between them (as recalled)",
        "attention dropout equals the dropout of the states, as in every published configuration",
    ),
)
