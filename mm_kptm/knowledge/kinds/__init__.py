"""Ways of giving knowledge to an encoder, one file each; an experiment file chooses one by ``knowledge.kind``."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.kinds.protocol import DataSizes, KnowledgeKind, find_kind, knowledge_kinds
else:
    __getattr__ = lazy(__name__, {"protocol": ["DataSizes", "KnowledgeKind", "find_kind", "knowledge_kinds"]})

__all__ = ["DataSizes", "KnowledgeKind", "find_kind", "knowledge_kinds"]
