r"""Training of embeddings that touches only the rows of a batch: for graphs of millions of entities.

A batch is cut into blocks whose triples share their negatives, so that the vectors of K entities serve many triples
(Zheng et al. 2020, DGL-KE, section 3.3), and scores against them are one product of matrices or one table of distances.
Only rows that a batch names are read, differentiated and updated: Adam with moments by row, or row-wise Adagrad, one
number a row (Duchi et al. 2011; the sum of the mean squared gradients of a row). A step takes as long for a thousand
entities as for a hundred million.

Heads and tails are corrupted in turns, a batch each. A head of TransE and RotatE is scored as a tail is, as
:math:`\|h + r - t\| = \|(t - r) - h\|` and :math:`\|h r - t\| = \|\bar r t - h\|` for rotations.

Shapes: B triples of a batch in G blocks, K negatives of a block, U distinct rows, D real values of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.geometries import GEOMETRIES

BETAS, EPS = (0.9, 0.999), 1e-8  #: of Adam


class RowOptimizer(Protocol):
    """Optimiser of the rows of a table."""

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""


class RowAdam:
    """Adam whose moments and step count are those of each row (Kingma and Ba 2015, algorithm 1)."""

    def __init__(self, table: Tensor, lr: float) -> None:
        self._lr = lr
        self._mean, self._square = torch.zeros_like(table), torch.zeros_like(table)
        self._steps = table.new_zeros(len(table), 1)

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""
        first, second = BETAS
        mean = self._mean.index_select(0, rows).lerp_(gradient, 1 - first)
        square = self._square.index_select(0, rows).mul_(second).addcmul_(gradient, gradient, value=1 - second)
        steps = self._steps.index_select(0, rows).add_(1)
        for state, new in ((self._mean, mean), (self._square, square), (self._steps, steps)):
            state.index_copy_(0, rows, new)
        scale = square.div_(1 - second**steps).sqrt_().add_(EPS)
        return values - (mean / scale).mul_(self._lr / (1 - first**steps))


class RowAdagrad:
    """Adagrad with one sum a row, of the mean squared gradients."""

    def __init__(self, table: Tensor, lr: float) -> None:
        self._lr = lr
        self._sums = table.new_zeros(len(table), 1)

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""
        sums = self._sums.index_select(0, rows) + gradient.square().mean(1, keepdim=True)
        self._sums.index_copy_(0, rows, sums)
        return values - gradient.mul(self._lr).div_(sums.sqrt_().add_(EPS))


OPTIMIZERS: Mapping[str, Callable[[Tensor, float], RowOptimizer]] = {"adam": RowAdam, "adagrad": RowAdagrad}


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
        loss: ``nssa`` (Sun et al. 2019, eq. 5) or ``softplus``.
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
    """Tables of vectors, and steps on them.

    Args:
        triples: head, relation and tail, [M, 3]; may be mapped from a file.
        num_entities: entity ids are 0 to ``num_entities`` - 1.
        num_relations: of the relation ids.
        settings: of the training.
        device: of the tables.
    """

    def __init__(
        self,
        triples: Tensor,
        num_entities: int,
        num_relations: int,
        settings: SharedNegatives,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings, self.device = settings, torch.device(device)
        self._triples, self._geometry = triples, GEOMETRIES[settings.model]()
        self._generator = torch.Generator().manual_seed(settings.seed)
        width = settings.dim * self._geometry.width
        self.entities = self._geometry.constrain_entities(self._drawn(num_entities, width))
        self.relations = self._geometry.constrain_relations(self._drawn(num_relations, width))
        optimizer = OPTIMIZERS[settings.optimizer]
        self._updates = (optimizer(self.entities, settings.lr), optimizer(self.relations, settings.lr))

    def _drawn(self, rows: int, width: int) -> Tensor:
        """Standard normal values, or uniform ones as Glorot and Bengio 2010 draw them for as many outputs as inputs."""
        values, bound = torch.empty(rows, width), math.sqrt(3 / width)
        if self._geometry.normal:
            return values.normal_(generator=self._generator).to(self.device)
        return values.uniform_(-bound, bound, generator=self._generator).to(self.device)

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
            self.step(self._triples[rows].long().to(self.device), corrupt_tails=number % 2 == 0)
            for number, rows in enumerate(order.split(self.settings.batch_size))
        ]
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise UserError(
                f"the loss is no finite number any more; train with a smaller lr than {self.settings.lr} or a smaller "
                f"margin than {self.settings.margin}"
            )
        return mean

    def step(self, triples: Tensor, *, corrupt_tails: bool) -> Tensor:
        """Update the rows of a batch of triples, [B, 3], and of its negatives; the mean loss."""
        geometry, count = self._geometry, len(triples)
        blocks = -(-count // self.settings.block)
        size = -(-count // blocks)
        drawn = torch.randint(len(self.entities), (blocks * self.settings.negatives,), generator=self._generator).to(
            self.device
        )
        rows, places = torch.cat([triples[:, 0], triples[:, 2], drawn]).unique(return_inverse=True)
        kinds, of_kind = triples[:, 1].unique(return_inverse=True)
        entities = self.entities.index_select(0, rows).requires_grad_()
        relations = self.relations.index_select(0, kinds).requires_grad_()
        heads, tails, negatives = entities.index_select(0, places).split([count, count, len(drawn)])
        steps = relations.index_select(0, of_kind)
        if corrupt_tails:
            queries, answers = geometry.tail_query(heads, steps), tails
        else:
            queries, answers = geometry.head_query(steps, tails), heads
        true = geometry.score(queries, answers)
        padded = F.pad(queries, (0, 0, 0, blocks * size - count)).unflatten(0, (blocks, size))
        false = geometry.scores(padded, negatives.unflatten(0, (blocks, -1))).flatten(0, 1)[:count]
        loss = _LOSSES[self.settings.loss](true, false, self.settings)
        if geometry.penalty:
            kept, replaced = (heads, tails) if corrupt_tails else (tails, heads)
            loss = loss + geometry.penalty * sum(
                _mean_length(rows, geometry.width) for rows in (kept, kept, steps, steps, replaced, negatives)
            )
        gradients = torch.autograd.grad(loss, (entities, relations))
        self._update(self.entities, rows, entities, gradients[0], 0, geometry.constrain_entities)
        self._update(self.relations, kinds, relations, gradients[1], 1, geometry.constrain_relations)
        return loss.detach()

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


def _nssa(true: Tensor, false: Tensor, settings: SharedNegatives) -> Tensor:
    weights = (false.detach() * settings.temperature).softmax(dim=-1)
    against = -(weights * F.logsigmoid(-false - settings.margin)).sum(-1)
    return (against - F.logsigmoid(true + settings.margin)).mean() / 2


def _softplus(true: Tensor, false: Tensor, _: SharedNegatives) -> Tensor:
    return (F.softplus(-true).sum() + F.softplus(false).sum()) / (true.numel() + false.numel())


_LOSSES: Mapping[str, Callable[[Tensor, Tensor, SharedNegatives], Tensor]] = {"nssa": _nssa, "softplus": _softplus}


def _mean_length(rows: Tensor, width: int) -> Tensor:
    """Mean length of vectors, over the square root of their dim."""
    return torch.linalg.vector_norm(rows, dim=-1).mean() / math.sqrt(rows.shape[-1] / width)
