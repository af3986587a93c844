"""Projections of mentions and descriptions, the queues of negatives of both, and their contrast (XLM-K).

Shapes: B sentences, n sentences with an entity, K rows of a queue, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.train.parallel.processes import all_reduce_sum, is_stand_in, rank_and_world_size

UNKNOWN = -1  #: language of the random states that a queue begins with, negatives of every language


class RunningBatchNorm(nn.Module):
    """Batch normalisation with running statistics as untrained parameters, so that they are saved.

    Args:
        dim: size of the rows.
        affine: whether normalised rows are scaled and moved by trained parameters.
        sync_bn: whether the statistics are of the rows of all processes, as in :class:`torch.nn.SyncBatchNorm`, which
            there is for CUDA alone.
        eps: added to variances.
        momentum: share of a batch in the running statistics.
    """

    def __init__(
        self, dim: int, *, affine: bool, sync_bn: bool = False, eps: float = 1e-12, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dim)) if affine else None
        self.running_mean = nn.Parameter(torch.zeros(dim), requires_grad=False)
        self.running_var = nn.Parameter(torch.ones(dim), requires_grad=False)
        self.sync_bn = sync_bn
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]; training uses statistics of the batch and needs at least two rows."""
        if self.training and self.sync_bn and rank_and_world_size()[1] > 1:
            return self._synchronised(x)
        mean, variance = self.running_mean.detach(), self.running_var.detach()
        batch = self.training and len(x) > 1
        return F.batch_norm(x, mean, variance, self.weight, self.bias, batch, self.momentum, self.eps)

    def _synchronised(self, x: Tensor) -> Tensor:
        """The rows normalised by the mean and variance of those of every process; a stand-in's do not count."""
        given, x = x.dtype, x if x.dtype == torch.double else x.float()
        mine = x[: 0 if is_stand_in() else None]
        total = all_reduce_sum(torch.cat([mine.sum(0), mine.new_tensor([len(mine)])]))
        count = total[-1].detach()
        mean, variance = total[:-1] / count, self.running_var.detach()
        centred = mine - mean
        squares = all_reduce_sum(centred.square().sum(0))
        if count > 1:
            variance = squares / count
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((squares / (count - 1)).to(self.running_var.dtype), self.momentum)
        else:
            mean = self.running_mean.detach()
        normalised = (x - mean) * (variance + self.eps).rsqrt()
        if self.weight is not None and self.bias is not None:
            normalised = normalised * self.weight + self.bias
        return normalised.to(given)


class Projection(nn.Module):
    """Linear layers without bias, each with batch norm, with ReLU between (code of Jiang et al. 2022)."""

    def __init__(self, dim: int, num_layers: int, *, sync_bn: bool = False) -> None:
        super().__init__()
        if num_layers < 1:
            raise UserError(f"a projection has at least one layer, not {num_layers}")
        self.linears = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(num_layers))
        self.norms = nn.ModuleList(
            RunningBatchNorm(dim, affine=place < num_layers - 1, sync_bn=sync_bn) for place in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        *earlier, last = zip(self.linears, self.norms, strict=True)
        for linear, norm in earlier:
            x = norm(linear(x)).relu()
        projected: Tensor = last[1](last[0](x))
        return projected


class DefinitionContrast(nn.Module):
    """Projections of mentions and of descriptions, and the queues of negatives of both directions.

    Args:
        dim: size of the states.
        num_layers: layers of each projection.
        queue_size: states that each queue holds.
        multi_queue: whether the queues also hold the language of every state, so that negatives are of one language;
            the random states that they begin with are negatives of every language.
        sync_bn: whether the projections normalise by the statistics of the batches of all processes.

    Raises:
        UserError: a projection has no layer or a queue no state.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int = 2,
        queue_size: int = 32768,
        multi_queue: bool = False,
        sync_bn: bool = False,
    ) -> None:
        super().__init__()
        if queue_size < 1:
            raise UserError(f"a queue holds at least one state, but queue_size is {queue_size}")
        self.word = Projection(dim, num_layers, sync_bn=sync_bn)
        self.document = Projection(dim, num_layers, sync_bn=sync_bn)
        self.documents = nn.Parameter(torch.randn(queue_size, dim) / dim**0.5, requires_grad=False)
        self.words = nn.Parameter(torch.randn(queue_size, dim) / dim**0.5, requires_grad=False)
        languages = torch.full((queue_size,), UNKNOWN)
        self.languages = nn.Parameter(languages, requires_grad=False) if multi_queue else None

    @torch.no_grad()
    def enqueue(self, words: Tensor, documents: Tensor, languages: Tensor | None = None) -> None:
        """Append states [B, D] and their languages [B] to the queues and drop the oldest.

        Of more than a queue holds, some are drawn; the draw depends on their number alone, so that the queues of
        several processes stay equal.
        """
        newest = {"words": words, "documents": documents}
        if self.languages is not None and languages is not None:
            newest["languages"] = languages
        for name, states in newest.items():
            queue = getattr(self, name)
            if len(states) > len(queue):
                draws = torch.Generator().manual_seed(len(states))
                states = states[torch.randperm(len(states), generator=draws)[: len(queue)].to(states.device)]
            queue.copy_(torch.cat([queue, states.to(queue.dtype)])[-len(queue) :])


@dataclass(frozen=True, eq=False)
class Spoken:
    """Languages of the sentences and of the states in a queue, numbered; :data:`UNKNOWN` is every language."""

    sentences: Tensor  #: [n]
    queue: Tensor  #: [K]

    def hidden(self) -> Tensor:
        """Columns of another language than a sentence's, among both sides and the queue, [n, 2 n + K]."""
        columns = torch.cat([self.sentences, self.sentences, self.queue])
        return (columns != self.sentences[:, None]) & (columns != UNKNOWN)


def queued_contrast(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    *,
    temperature: float,
    normalised: bool,
    spoken: Spoken | None = None,
) -> Tensor:
    """InfoNCE loss of every query and every key against all queries, keys and the queue, [2 n].

    Args:
        queries: row i has row i of the keys as positive, [n, D].
        keys: the positives, [n, D].
        queue: further negatives, [K, D].
        temperature: divides the scores.
        normalised: whether vectors are L2-normalised first (with norms clamped at 1e-4).
        spoken: languages, where negatives are of the language of the sentence alone; a pair has its sentence's.
    """
    if normalised:
        queries, keys, queue = (F.normalize(x, dim=-1, eps=1e-4) for x in (queries, keys, queue))
    count = len(queries)
    own = torch.arange(count, device=queries.device)
    losses = []
    for mine, theirs in ((queries, keys), (keys, queries)):
        scores = mine @ torch.cat([mine, theirs, queue]).T / temperature
        hidden = F.one_hot(own, scores.shape[1]).bool()
        if spoken is not None:
            hidden = hidden | spoken.hidden()
        losses.append(F.cross_entropy(scores.masked_fill(hidden, float("-inf")), count + own, reduction="none"))
    return torch.cat(losses)
