"""K-BERT's way: facts hang as branches from the names in a text, and the encoder stays as it is."""

from mm_kptm.knowledge.kinds.protocol import BRANCHES, KnowledgeKind
from mm_kptm.knowledge.recipes.kbert import KBERT_BASE

SENTENCE_TREE = KnowledgeKind(name="sentence-tree", paper=KBERT_BASE.paper, form=BRANCHES)
