"""K-BERT's sentence tree as a knowledge kind: facts are branches of the names in a text; the encoder is unchanged."""

from mm_kptm.knowledge.kinds.protocol import BRANCHES, KnowledgeKind
from mm_kptm.knowledge.recipes.kbert import KBERT_BASE

SENTENCE_TREE = KnowledgeKind(name="sentence-tree", paper=KBERT_BASE.paper, form=BRANCHES)
