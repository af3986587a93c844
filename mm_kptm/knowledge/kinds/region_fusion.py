"""ERNIE's entity fusion inside the regions stream: upper layers mix every region with its linked entity's vector."""

from __future__ import annotations

from torch import nn

from mm_kptm.adaptation.layer_stack import layer_stack
from mm_kptm.knowledge.kinds.entity_fusion import FUSION, fusion_sizes
from mm_kptm.knowledge.kinds.protocol import REGION_ENTITIES, KnowledgeKind
from mm_kptm.models.single import SingleStream


def _joint_stack(encoder: nn.Module) -> SingleStream | None:
    return layer_stack(encoder) if isinstance(encoder, SingleStream) else None


REGION_FUSION = KnowledgeKind(
    name="region-fusion",
    paper=FUSION.paper,
    form=REGION_ENTITIES,
    addition=FUSION,
    host=_joint_stack,
    host_requirement="reads text and regions in one stream",
    sizes=fusion_sizes,
)
