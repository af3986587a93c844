"""Entity denoising: predict the linked entity of every token from corrupted links (Zhang et al. 2019, section 3.4).

Shapes: T token rows, P rows with an entity, K candidates, B examples, D dim, E entity dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Entities, Inputs, Movable, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Transform
from mm_kptm.nn.sublayers import Activation
from mm_kptm.objectives.rows import RowObjective
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.systems.system import System

LINKED_ENTITIES = "entity vectors linked in texts"


class EntityScores(nn.Module):
    """Output layer over entity vectors given at run time (Zhang et al. 2019, eq. 5).

    The paper has a linear layer before the product, the released code a dense layer, GELU and norm.
    """

    def __init__(self, dim: int, entity_dim: int, *, activation: str | Activation = "gelu") -> None:
        super().__init__()
        self.transform = Transform(dim, entity_dim, activation=activation)

    def forward(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Token states [P, D] and candidates [K, E] -> scores [P, K]."""
        scores: Tensor = self.transform(rows) @ candidates.to(rows.dtype).T
        return scores


@dataclass(frozen=True, eq=False)
class Denoising(Movable):
    """Batch of entity denoising: inputs with corrupted entities, and the labels of all rows that had one."""

    inputs: Inputs
    candidates: Tensor  #: zero vector for no entity, then the batch's entities, [K, E]
    rows: Tensor  #: [P]
    labels: Tensor  #: indices among the candidates, [P]
    sequence_ids: Tensor  #: example of each row, [P]

    def __len__(self) -> int:
        return len(self.inputs)


class EntityDenoising(RowObjective[Denoising]):
    """Corrupt the links of a batch and predict the original entities among those of the batch, or none.

    Args:
        random_share: share of entities replaced by a random one of the batch (possibly the same).
        drop_share: share of entities that are removed.
    """

    name = "entity-denoising"

    def __init__(self, *, random_share: float = 0.05, drop_share: float = 0.15) -> None:
        if min(random_share, drop_share) < 0 or random_share + drop_share > 1:
            raise UserError(
                f"the shares of random ({random_share}) and dropped ({drop_share}) entities must lie between 0 and 1 "
                "together"
            )
        self.random_share = random_share
        self.drop_share = drop_share

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Denoising:
        """Corrupt the entities of a copy of the inputs; every original entity is a label.

        Raises:
            UserError: there is no text, or no entity ids.
        """
        text, entities = inputs.text, inputs.entities
        if text is None or entities is None or entities.ids is None:
            raise UserError("entity-denoising corrupts the entities of a text, but the inputs have no entity ids")
        rows = (entities.ids >= 0).nonzero().squeeze(1)
        distinct, labels = torch.unique(entities.ids[rows], return_inverse=True)
        vectors = torch.zeros(len(distinct), entities.vectors.shape[1], dtype=entities.vectors.dtype)
        vectors[labels] = entities.vectors[rows]
        chance, other = torch.rand(2, len(rows), generator=generator)
        swapped = chance < self.random_share
        dropped = ~swapped & (chance < self.random_share + self.drop_share)
        replaced = torch.where(swapped, (other * len(distinct)).long(), labels)
        corrupted = Entities(
            vectors=entities.vectors.index_copy(0, rows, vectors[replaced] * ~dropped[:, None]),
            linked=entities.linked.index_copy(0, rows, entities.linked[rows] & ~dropped),
            ids=entities.ids.index_copy(0, rows, torch.where(dropped, -1, distinct[replaced])),
        )
        return Denoising(
            inputs=inputs.with_streams(entities=corrupted),
            candidates=torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors]),
            rows=rows,
            labels=labels + 1,
            sequence_ids=text.layout.sequence_ids(rows.device)[rows],
        )

    def losses(self, system: System, batch: Denoising) -> Tensor:
        """Cross-entropy of every entity, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.name)(encoded.text, batch.candidates)
        return F.cross_entropy(scores, batch.labels, reduction="none")


ENTITY_DENOISING = ObjectiveSpec(
    EntityDenoising.name,
    "Zhang et al. 2019, ERNIE: Enhanced Language Representation with Informative Entities, ACL, section 3.4",
    lambda context: EntityDenoising(**context.arguments),
    needs=(LINKED_ENTITIES,),
)
