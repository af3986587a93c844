"""Entity denoising: tell from the tokens which entity was linked, after the links were corrupted (Zhang et al. 2019).

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
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.objectives.tokens import mean, mean_of_each
from mm_kptm.systems.system import System

LINKED_ENTITIES = "entity vectors linked in texts"


class EntityScores(nn.Module):
    """Scores token states against the vectors of candidates given at run time (Zhang et al. 2019, eq. 5).

    The paper has a linear layer before the product, the released code dense, GELU and norm.
    """

    def __init__(self, dim: int, entity_dim: int, *, activation: str | Activation = "gelu") -> None:
        super().__init__()
        self.transform = Transform(dim, entity_dim, activation=activation)

    def forward(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """[P, D] against [K, E]: [P, K]."""
        scores: Tensor = self.transform(rows) @ candidates.to(rows.dtype).T
        return scores


@dataclass(frozen=True, eq=False)
class Denoising(Movable):
    """Inputs with corrupted entities, the rows that had one, and which candidate it was."""

    inputs: Inputs
    candidates: Tensor  #: the zero vector, then those of the batch's entities, [K, E]
    rows: Tensor  #: [P]
    labels: Tensor  #: places among the candidates, [P]
    owners: Tensor  #: the example of each, [P]

    def __len__(self) -> int:
        return len(self.inputs)


class EntityDenoising:
    """Corrupt the links of a batch and find the entities again among those of the batch, no entity included.

    Args:
        random_share: share of entities that another one of the batch replaces (it may be the same by chance).
        drop_share: share of entities that are taken away.
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
        """A copy of the inputs with corrupted entities; every entity is to be found, whatever became of it.

        Raises:
            UserError: there is no text, or no entities with their numbers.
        """
        text, entities = inputs.text, inputs.entities
        if text is None or entities is None or entities.ids is None:
            raise UserError("entity-denoising corrupts the entities of a text, but the inputs have no entity ids")
        rows = (entities.ids >= 0).nonzero().squeeze(1)
        known, labels = torch.unique(entities.ids[rows], return_inverse=True)
        shown = torch.zeros(len(known), entities.vectors.shape[1], dtype=entities.vectors.dtype)
        shown[labels] = entities.vectors[rows]
        chance, other = torch.rand(2, len(rows), generator=generator)
        swapped = chance < self.random_share
        dropped = ~swapped & (chance < self.random_share + self.drop_share)
        given = torch.where(swapped, (other * len(known)).long(), labels)
        corrupted = Entities(
            vectors=entities.vectors.index_copy(0, rows, shown[given] * ~dropped[:, None]),
            linked=entities.linked.index_copy(0, rows, entities.linked[rows] & ~dropped),
            ids=entities.ids.index_copy(0, rows, torch.where(dropped, -1, known[given])),
        )
        return Denoising(
            inputs=inputs.with_streams(entities=corrupted),
            candidates=torch.cat([shown.new_zeros(1, shown.shape[1]), shown]),
            rows=rows,
            labels=labels + 1,
            owners=text.layout.sequence_ids(rows.device)[rows],
        )

    def losses(self, system: System, batch: Denoising) -> Tensor:
        """The cross-entropy of every entity, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.name)(encoded.text, batch.candidates)
        return F.cross_entropy(scores, batch.labels, reduction="none")

    def loss(self, system: System, batch: Denoising) -> Tensor:
        """The mean over all entities of the batch."""
        return mean(self.losses(system, batch))

    def measure(self, system: System, batch: Denoising) -> Tensor:
        """The mean over the entities of each example, [B]; the batch's mean where an example has none."""
        return mean_of_each(self.losses(system, batch), batch.owners, len(batch))


ENTITY_DENOISING = ObjectiveSpec(
    EntityDenoising.name,
    "Zhang et al. 2019, ERNIE: Enhanced Language Representation with Informative Entities, ACL, section 3.4",
    lambda context: EntityDenoising(**context.arguments),
    needs=(LINKED_ENTITIES,),
)
