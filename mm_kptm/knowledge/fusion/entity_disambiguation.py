"""Entity disambiguation in context (Peters et al. 2019, sections 3.2 and 3.3).

Entity tables, span pooling, and two decision rules over candidates: a threshold that no candidate may reach
(Wikipedia), or a softmax that always chooses one (WordNet). Ids 0 to 3 of a table are special entities.

Shapes: T rows of the batch, S spans, C candidates, U distinct entities of a batch, E entity dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Candidates, SequenceLayout
from mm_kptm.batch.rows import copied, on_host
from mm_kptm.batch.special_entities import NULL, PADDING, SPECIAL_ENTITIES
from mm_kptm.errors import UserError

#: Classes of WordNet entities: its five parts of speech and the special entities.
SYNSET_CLASSES = ("@@PADDING@@", "n", "v", "a", "r", "s", "@@MASK@@", "@@NULL@@", "@@UNKNOWN@@")


_HIDDEN = -10000.0  # score of padding candidates in the released code


def frozen(*shape: int) -> nn.Parameter:
    """Frozen parameter, small random values until a checkpoint or a graph fills it."""
    return nn.Parameter(torch.empty(*shape).normal_(0.0, 0.02), requires_grad=False)


class VectorTable(nn.Module):
    """Table of frozen entity vectors.

    Args:
        num_entities: rows of the table.
        entity_dim: E.
        null: whether the null entity's vector is stored, for spans that mention no entity.

    Raises:
        UserError: there is no room for the special entities.
    """

    null: nn.Parameter | None

    def __init__(self, num_entities: int, entity_dim: int, *, null: bool = True) -> None:
        super().__init__()
        _check_size(num_entities)
        self.vectors = frozen(num_entities, entity_dim)
        self.null = nn.Parameter(self.vectors[NULL].clone(), requires_grad=False) if null else None

    def forward(self, entities: Tensor) -> Tensor:
        """Entity ids [U] -> vectors [U, E]."""
        return F.embedding(entities, self.vectors)


class SynsetTable(nn.Module):
    """Synset vectors concatenated with a learned class vector and projected (section 4.1).

    ``classes`` has the class of every entity, an index into :data:`SYNSET_CLASSES`. The class table has as many rows as
    there are entities, as in the released files, though only the first nine are used.

    Args:
        num_entities: rows of the table.
        raw_dim: width of the synset vectors.
        class_dim: width of the class vectors.
        entity_dim: E.
        learned_null: whether the null entity has a learned vector instead of a projected one.
        dropout: after the projection.
    """

    null: nn.Parameter | None

    def __init__(
        self,
        num_entities: int,
        raw_dim: int,
        class_dim: int,
        entity_dim: int,
        *,
        learned_null: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_size(num_entities)
        self.vectors = frozen(num_entities, raw_dim)
        classes = torch.zeros(num_entities, dtype=torch.long)
        classes[: len(SPECIAL_ENTITIES)] = torch.tensor([SYNSET_CLASSES.index(name) for name in SPECIAL_ENTITIES])
        self.classes = nn.Parameter(classes, requires_grad=False)
        self.class_vectors = nn.Embedding(max(num_entities, len(SYNSET_CLASSES)), class_dim)
        self.map = nn.Linear(raw_dim + class_dim, entity_dim)
        self.drop = nn.Dropout(dropout)
        self.null = nn.Parameter(torch.empty(entity_dim).normal_(0.0, 0.02)) if learned_null else None

    def forward(self, entities: Tensor) -> Tensor:
        """Entity ids [U] -> vectors [U, E]."""
        classes = self.classes[entities]
        mapped: Tensor = self.map(torch.cat([F.embedding(entities, self.vectors), self.class_vectors(classes)], dim=-1))
        mapped = self.drop(mapped)
        if self.null is None:
            return mapped
        return torch.where((classes == SYNSET_CLASSES.index("@@NULL@@"))[:, None], self.null.to(mapped.dtype), mapped)


def _check_size(num_entities: int) -> None:
    if num_entities <= NULL:
        raise UserError(
            f"a table of {num_entities} entities has no room for {', '.join(SPECIAL_ENTITIES)}, its first entries"
        )


class SpanPooling(nn.Module):
    """Self-attentive span pooling: a softmax of learned scores over the rows of a span (Lee et al. 2017, section 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, rows: Tensor, spans: Tensor) -> Tensor:
        """Rows [T, E], first and last row of each span [S, 2] -> [S, E]; zero for a blank span."""
        first, last = on_host(spans).unbind(1)
        widths, host = SequenceLayout(tuple(torch.where(first < 0, 0, last - first + 1).tolist())), torch.device("cpu")
        ids = widths.sequence_ids(host)
        taken = copied(first[ids] + widths.offsets_in_sequence(host), rows.device)
        span_ids = copied(ids, rows.device)
        scores = self.score(rows).squeeze(1)[taken]
        best = scores.new_full((len(spans),), float("-inf")).scatter_reduce(0, span_ids, scores.detach(), "amax")
        weights = (scores - best[span_ids]).exp()
        totals = weights.new_zeros(len(spans)).index_add(0, span_ids, weights)
        weighted = rows[taken] * (weights / totals[span_ids]).to(rows.dtype)[:, None]
        return rows.new_zeros(len(spans), rows.shape[1]).index_add(0, span_ids, weighted)


class PriorScores(nn.Module):
    """Candidate scores: an MLP of the span-entity dot product and the prior (section 3.2)."""

    def __init__(self, hidden_dim: int = 100) -> None:
        super().__init__()
        self.up_proj = nn.Linear(2, hidden_dim)
        self.down_proj = nn.Linear(hidden_dim, 1)

    def forward(self, spans: Tensor, vectors: Tensor, candidates: Candidates) -> Tensor:
        """Spans [S, E] and candidate vectors [S, C, E] -> scores [S, C]."""
        products = torch.einsum("se,sce->sc", spans, vectors) / spans.shape[-1] ** 0.5
        both = torch.stack([products, candidates.priors.to(products.dtype)], dim=-1)
        scores: Tensor = self.down_proj(self.up_proj(both).relu()).squeeze(-1)
        return scores.masked_fill(candidates.entities == PADDING, _HIDDEN)


class Decision(Protocol):
    """Decision rule over candidate scores: the mixture vector, the loss and the predicted entity."""

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """Mixture of the candidates [S, C, E], one vector per span, [S, E]."""

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Losses of all scored items, [P], and the span of each, [P]."""

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """Predicted entity of each span, :data:`PADDING` for none, [S]."""


@dataclass(frozen=True)
class ByMargin:
    """Margin rule: candidates below a threshold are dropped; the gold one is pushed above the margin, others below."""

    threshold: float = 0.0
    margin: float = 0.2

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """Softmax mixture of the candidates at or above the threshold; ``null`` where there is none."""
        below = scores < self.threshold
        mixed = _mixed(scores.masked_fill(below, _HIDDEN), vectors)
        return mixed if null is None else torch.where(below.all(-1, keepdim=True), null.to(mixed.dtype), mixed)

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        r""":math:`\max(0, m - \psi)` for the gold candidate, :math:`\max(0, m + \psi)` for every other (eq. 4)."""
        right = candidates.entities == gold(candidates)[:, None]
        kept = (on_host(candidates.entities) != PADDING).nonzero()
        spans, columns = copied(kept, scores.device).unbind(1)
        losses = (self.margin + torch.where(right, -scores, scores)).clamp(min=0)
        return losses[spans, columns], spans

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """Best candidate above the threshold."""
        return _best(scores, candidates, self.threshold)


@dataclass(frozen=True)
class BySoftmax:
    """Softmax rule: exactly one candidate is gold, as for word senses."""

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """Softmax mixture of all candidates."""
        return _mixed(scores, vectors)

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the gold candidate; of the first one where none is gold, as in the released code."""
        known = (on_host(candidates.entities) != PADDING).any(-1).nonzero().squeeze(1)
        spans = copied(known, scores.device)
        right = candidates.entities[spans] == gold(candidates)[spans][:, None]
        return F.cross_entropy(scores[spans], right.long().argmax(-1), reduction="none"), spans

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """Best candidate."""
        return _best(scores, candidates, 0.1 * _HIDDEN)


def gold(candidates: Candidates) -> Tensor:
    """Gold entities, [S].

    Raises:
        UserError: the candidates have no gold entities.
    """
    if candidates.gold is None:
        raise UserError("entity linking is scored against the entities that are meant, but the candidates have no gold")
    return candidates.gold


def _mixed(scores: Tensor, vectors: Tensor) -> Tensor:
    mixed: Tensor = torch.einsum("sc,sce->se", scores.softmax(-1).to(vectors.dtype), vectors)
    return mixed


def _best(scores: Tensor, candidates: Candidates, threshold: float) -> Tensor:
    best, place = scores.max(-1)
    named = candidates.entities.gather(1, place[:, None]).squeeze(1)
    return torch.where((best > threshold) & (named != NULL), named, PADDING)
