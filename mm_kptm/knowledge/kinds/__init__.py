"""Methods of knowledge injection, one file each; ``knowledge.kind`` in an experiment file chooses one."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.kinds.protocol import DataSizes, KnowledgeKind, find_kind, knowledge_kinds
else:
    __getattr__ = lazy(__name__, {"protocol": ["DataSizes", "KnowledgeKind", "find_kind", "knowledge_kinds"]})

__all__ = ["DataSizes", "KnowledgeKind", "find_kind", "knowledge_kinds"]
