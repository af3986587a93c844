r"""Training of embeddings that touches only the rows of a batch: for graphs of millions of entities.

A batch is cut into blocks whose triples share their negatives, so that the vectors of K entities serve several triples
(Zheng et al. 2020, DGL-KE, section 3.3), and scores against them are one product of matrices or one table of distances.
The larger the block, the fewer rows are read, and the noisier is the gradient of a batch, which has fewer negatives.
Only rows that a batch names are read, differentiated and updated: Adam with moments by row, or row-wise Adagrad, one
number a row (Duchi et al. 2011; the sum of the mean squared gradients of a row). A step takes as long for a thousand
entities as for a hundred million.

Of half the triples of a batch the head is corrupted, of the others the tail, as pykeen does it (DGL-KE takes batches in
turns). A head of TransE and RotatE is scored as a tail is, as
:math:`\|h + r - t\| = \|(t - r) - h\|` and :math:`\|h r - t\| = \|\bar r t - h\|` for rotations.

Shapes: B triples of a batch in G blocks, K negatives of a block, U distinct rows, D real values of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.geometries import GEOMETRIES
from mm_kptm.knowledge.embedding.row_tables import OPTIMIZERS, Tables
from mm_kptm.train.parallel.processes import rank_and_world_size

ROWS = 1 << 16  #: of a table that are drawn at once
NO_SCORE = -1e4  #: of a negative that is the answer itself: its loss and its weight are 0


@dataclass(frozen=True)
class SharedNegatives:
    """Settings of a training with shared negatives.

    Args:
        model: one of :data:`GEOMETRIES`.
        dim: of the vectors; complex values count once.
        batch_size: triples of a step.
        block: triples that share their negatives.
        negatives: of a block, K.
        epochs: passes over the triples.
        lr: learning rate.
        optimizer: one of :data:`OPTIMIZERS`.
        loss: ``nssa`` (Sun et al. 2019, eq. 5), ``softplus`` (logistic) or ``crossentropy`` (softmax over answer and
            negatives).
        margin: of ``nssa``.
        temperature: of the weights of the negatives in ``nssa``.
        seed: of the vectors, the order of the triples and the negatives.
    """

    model: str
    dim: int
    batch_size: int
    block: int
    negatives: int
    epochs: int
    lr: float
    optimizer: str = "adam"
    loss: str = "nssa"
    margin: float = 6.0
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for key, known in (("model", GEOMETRIES), ("optimizer", OPTIMIZERS), ("loss", _LOSSES)):
            if getattr(self, key) not in known:
                raise UserError(
                    f"negatives are shared with the {key} {', '.join(known)}, not with {getattr(self, key)!r}; train "
                    "with the loop slcwa or lcwa"
                )


class SharedNegativesTraining:
    """Tables of vectors, and steps on them; the processes of a launch share the blocks of a batch.

    All processes draw the same batches and negatives, each differentiates its blocks, and the gradients of the rows are
    summed, so that the vectors are those that one process trains, but for the order in which numbers are added.

    Args:
        triples: head, relation and tail, [M, 3]; may be mapped from a file.
        num_entities: entity ids are 0 to ``num_entities`` - 1.
        num_relations: of the relation ids.
        settings: of the training.
        device: of the tables.
        folder: for tables in mapped files, which may be larger than memory; None: in memory.
    """

    def __init__(
        self,
        triples: Tensor,
        num_entities: int,
        num_relations: int,
        settings: SharedNegatives,
        device: torch.device | str = "cpu",
        *,
        folder: Path | None = None,
    ) -> None:
        self.settings, self.device = settings, torch.device(device)
        self._triples, self._geometry = triples, GEOMETRIES[settings.model]()
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._tables = Tables(self.device, folder)
        width = settings.dim * self._geometry.width
        self.entities = self._tables.zeros("entities", num_entities, width)
        self.relations = self._tables.zeros("relations", num_relations, width)
        self._fill(self.entities, self._geometry.draw_entities, self._geometry.constrain_entities)
        self._fill(self.relations, self._geometry.draw_relations, self._geometry.constrain_relations)
        self._updates = tuple(
            OPTIMIZERS[settings.optimizer](partial(self._state, name, rows), width, settings.lr)
            for name, rows in (("entities", num_entities), ("relations", num_relations))
        )

    def _state(self, table: str, rows: int, state: str, width: int) -> Tensor:
        return self._tables.zeros(f"{table}.{state}", rows, width)

    def _fill(
        self, table: Tensor, draw: Callable[[Tensor, torch.Generator], None], constrain: Callable[[Tensor], Tensor]
    ) -> None:
        """Draw the values of a table, some rows at a time; those that do not write draw as well, to stay in step."""
        for first in range(0, len(table), ROWS):
            rows = torch.empty(len(table[first : first + ROWS]), table.shape[1])
            draw(rows, self._generator)
            if self._tables.writes:
                table[first : first + ROWS] = constrain(rows).to(self.device)
        self._tables.settle()

    def epochs(self) -> list[float]:
        """Train; the mean loss of every epoch.

        Raises:
            UserError: the loss is no longer finite.
        """
        return [self.epoch() for _ in range(self.settings.epochs)]

    def epoch(self) -> float:
        """One pass over the triples; the mean loss."""
        order = torch.randperm(len(self._triples), generator=self._generator)
        losses = [
            self.step(self._triples[rows].long().to(self.device)) for rows in order.split(self.settings.batch_size)
        ]
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise UserError(
                f"the loss is no finite number any more; train with a smaller lr than {self.settings.lr} or a smaller "
                f"margin than {self.settings.margin}"
            )
        return mean

    def step(self, triples: Tensor) -> Tensor:
        """Update the rows of a batch of triples, [B, 3], and of its negatives; the mean loss."""
        count = len(triples)
        corrupted_heads = (count + int(torch.randint(2, (), generator=self._generator))) // 2  # of one triple: either
        blocks = -(-count // self.settings.block)
        drawn = torch.randint(len(self.entities), (blocks * self.settings.negatives,), generator=self._generator).to(
            self.device
        )
        rows, places = torch.cat([triples[:, 0], triples[:, 2], drawn]).unique(return_inverse=True)
        kinds, of_kind = triples[:, 1].unique(return_inverse=True)
        entities = self.entities.index_select(0, rows).requires_grad_()
        relations = self.relations.index_select(0, kinds).requires_grad_()
        heads, tails, negatives = places.split([count, count, len(drawn)])
        batch = torch.stack([heads, of_kind, tails], dim=1)
        loss = self._loss(entities, relations, batch, negatives.unflatten(0, (blocks, -1)), corrupted_heads)
        gradients = torch.autograd.grad(loss, (entities, relations))
        summed = _summed([*gradients, loss.detach()[None]])
        if self._tables.writes:
            self._update(self.entities, rows, entities, summed[0], 0, self._geometry.constrain_entities)
            self._update(self.relations, kinds, relations, summed[1], 1, self._geometry.constrain_relations)
        self._tables.settle()
        return summed[2].squeeze(0)

    def _loss(
        self, entities: Tensor, relations: Tensor, batch: Tensor, negatives: Tensor, corrupted_heads: int
    ) -> Tensor:
        """The part of the mean loss of a batch that is of the blocks of this process.

        Args:
            entities: vectors of the batch.
            relations: those of its relations.
            batch: rows of head, relation and tail among these, [B, 3].
            negatives: rows of the negatives of every block, [G, K].
            corrupted_heads: so many triples, the first, have their head exchanged for negatives, the others their tail.
        """
        geometry, settings, count, blocks = self._geometry, self.settings, len(batch), len(negatives)
        process, processes = rank_and_world_size()
        size = -(-count // blocks)
        first, end = (blocks * place // processes for place in (process, process + 1))
        mine, drawn = batch[first * size : end * size], negatives[first:end]
        if not len(mine):
            return (entities.sum() + relations.sum()) * 0.0
        asked = min(max(corrupted_heads - first * size, 0), len(mine))  # of these the head
        true = torch.cat([mine[:asked, 0], mine[asked:, 2]])
        kept, answers = (entities.index_select(0, of) for of in (torch.cat([mine[:asked, 2], mine[asked:, 0]]), true))
        steps, false = relations.index_select(0, mine[:, 1]), entities.index_select(0, drawn.flatten())
        queries = torch.cat(
            [geometry.head_query(steps[:asked], kept[:asked]), geometry.tail_query(kept[asked:], steps[asked:])]
        )
        padding = (0, 0, 0, len(drawn) * size - len(mine))
        scores = geometry.scores(F.pad(queries, padding).unflatten(0, (-1, size)), false.unflatten(0, (len(drawn), -1)))
        # an answer that is drawn as a negative is none
        true = F.pad(true, padding[2:]).unflatten(0, (-1, size))
        scores = scores.masked_fill(true[:, :, None] == drawn[:, None], NO_SCORE)
        losses = _LOSSES[settings.loss](geometry.score(queries, answers), scores.flatten(0, 1)[: len(mine)], settings)
        loss = losses.sum() / count
        if geometry.entity_penalty:
            of_triples = _lengths(torch.cat([kept, kept, answers]), geometry.width).sum() / count
            of_negatives = _lengths(false, geometry.width).sum() / negatives.numel()
            loss = loss + geometry.entity_penalty * (of_triples + of_negatives)
        if geometry.relation_penalty:  # a triple and its negatives have the same relation
            loss = loss + geometry.relation_penalty * 2 * _lengths(steps, geometry.width).sum() / count
        return loss

    @torch.no_grad()
    def _update(
        self,
        table: Tensor,
        rows: Tensor,
        values: Tensor,
        gradient: Tensor,
        number: int,
        constrain: Callable[[Tensor], Tensor],
    ) -> None:
        table.index_copy_(0, rows, constrain(self._updates[number].step(rows, values, gradient)))


def _summed(parts: Sequence[Tensor]) -> list[Tensor]:
    """The sums of tensors over all processes, in one exchange."""
    if rank_and_world_size()[1] == 1:
        return [*parts]
    flat = torch.cat([part.flatten() for part in parts])
    torch.distributed.all_reduce(flat)
    return [part.view_as(like) for part, like in zip(flat.split([one.numel() for one in parts]), parts, strict=True)]


def _nssa(true: Tensor, false: Tensor, settings: SharedNegatives) -> Tensor:
    weights = (false.detach() * settings.temperature).softmax(dim=-1)
    against = -(weights * F.logsigmoid(-false - settings.margin)).sum(-1)
    return (against - F.logsigmoid(true + settings.margin)) / 2


def _softplus(true: Tensor, false: Tensor, _: SharedNegatives) -> Tensor:
    return (F.softplus(-true) + F.softplus(false).sum(-1)) / (1 + false.shape[-1])


def _crossentropy(true: Tensor, false: Tensor, _: SharedNegatives) -> Tensor:
    return torch.cat([true[:, None], false], dim=-1).logsumexp(-1) - true


#: Loss of every triple, [B], by the scores of its answer [B] and of its negatives [B, K].
_LOSSES: Mapping[str, Callable[[Tensor, Tensor, SharedNegatives], Tensor]] = {
    "nssa": _nssa, "softplus": _softplus, "crossentropy": _crossentropy,
}  # fmt: skip


def _lengths(rows: Tensor, width: int) -> Tensor:
    """Lengths of vectors, over the square root of their dim."""
    return torch.linalg.vector_norm(rows, dim=-1) / math.sqrt(rows.shape[-1] / width)
