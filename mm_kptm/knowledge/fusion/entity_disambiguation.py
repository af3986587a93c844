"""Which entity a mention means, read off the text around it (Peters et al. 2019, sections 3.2 and 3.3).

Tables of entity vectors, the pooling of a span, and two ways to decide among candidates: a threshold that nothing may
reach (Wikipedia), or a choice that is always made (WordNet). Numbers 0 to 3 of a table stand for nothing in the world.

Shapes: T rows of the batch, S spans, C candidates, U different entities of a batch, E entity dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Candidates, SequenceLayout
from mm_kptm.batch.special_entities import NULL, PADDING, SPECIAL_ENTITIES
from mm_kptm.errors import UserError

#: Classes of WordNet's entities: its five parts of speech, and what stands for no synset.
SYNSET_CLASSES = ("@@PADDING@@", "n", "v", "a", "r", "s", "@@MASK@@", "@@NULL@@", "@@UNKNOWN@@")


_HIDDEN = -10000.0  # the released code's score of what is no candidate


def frozen(*shape: int) -> nn.Parameter:
    """Vectors that are read but never trained; small random ones until a checkpoint or a graph fills them."""
    return nn.Parameter(torch.empty(*shape).normal_(0.0, 0.02), requires_grad=False)


class VectorTable(nn.Module):
    """Entity vectors as they are.

    Args:
        num_entities: rows of the table.
        entity_dim: E.
        null: whether the vector of the entity that means nothing is kept for mentions of nothing.

    Raises:
        UserError: there is no room for the entities that stand for nothing.
    """

    null: nn.Parameter | None

    def __init__(self, num_entities: int, entity_dim: int, *, null: bool = True) -> None:
        super().__init__()
        _check_size(num_entities)
        self.vectors = frozen(num_entities, entity_dim)
        self.null = nn.Parameter(self.vectors[NULL].clone(), requires_grad=False) if null else None

    def forward(self, entities: Tensor) -> Tensor:
        """[U] -> [U, E]."""
        return F.embedding(entities, self.vectors)


class SynsetTable(nn.Module):
    """Synset vectors beside a learned vector of their class, in one linear map (section 4.1).

    ``classes`` says the class of every entity, a number into :data:`SYNSET_CLASSES`. The vectors of classes have as
    many rows as there are entities, as in the released files, though only the first nine are read.

    Args:
        num_entities: rows of the table.
        raw_dim: width of the synset vectors.
        class_dim: width of the vectors of classes.
        entity_dim: E.
        learned_null: whether the entity that means nothing has a vector of its own, past the map.
        dropout: of what the map makes.
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
        """[U] -> [U, E]."""
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
    """The rows of a span in one vector, weighted by a softmax of learned scores (Lee et al. 2017, section 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, rows: Tensor, spans: Tensor) -> Tensor:
        """[T, E] and first and last rows [S, 2] -> [S, E]; zero for a blank span."""
        first, last = spans.unbind(1)
        widths = SequenceLayout(tuple(torch.where(first < 0, 0, last - first + 1).tolist()))
        owners = widths.sequence_ids(rows.device)
        taken = first[owners] + widths.offsets_in_sequence(rows.device)
        scores = self.score(rows).squeeze(1)[taken]
        best = scores.new_full((len(spans),), float("-inf")).scatter_reduce(0, owners, scores.detach(), "amax")
        shares = (scores - best[owners]).exp()
        totals = shares.new_zeros(len(spans)).index_add(0, owners, shares)
        weighted = rows[taken] * (shares / totals[owners]).to(rows.dtype)[:, None]
        return rows.new_zeros(len(spans), rows.shape[1]).index_add(0, owners, weighted)


class PriorScores(nn.Module):
    """How well candidates fit a span: a small network on their product and the prior (section 3.2)."""

    def __init__(self, hidden_dim: int = 100) -> None:
        super().__init__()
        self.up_proj = nn.Linear(2, hidden_dim)
        self.down_proj = nn.Linear(hidden_dim, 1)

    def forward(self, spans: Tensor, vectors: Tensor, candidates: Candidates) -> Tensor:
        """Spans [S, E] against the vectors of their candidates [S, C, E]: [S, C]."""
        products = torch.einsum("se,sce->sc", spans, vectors) / spans.shape[-1] ** 0.5
        both = torch.stack([products, candidates.priors.to(products.dtype)], dim=-1)
        scores: Tensor = self.down_proj(self.up_proj(both).relu()).squeeze(-1)
        return scores.masked_fill(candidates.entities == PADDING, _HIDDEN)


class Decision(Protocol):
    """What follows from scores: the mixture that a text is told, the loss, and the entity that is named."""

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """Candidates [S, C, E] in one vector per span, [S, E]."""

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """The loss of everything that is scored, [P], and the span that each belongs to, [P]."""

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """The entity that each span means, :data:`PADDING` where it means none, [S]."""


@dataclass(frozen=True)
class ByMargin:
    """Candidates below a threshold are none; the right one is to stay above zero by a margin, the others below."""

    threshold: float = 0.0
    margin: float = 0.2

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """The softmax over candidates that reach the threshold; ``null`` where none does."""
        below = scores < self.threshold
        mixed = _mixed(scores.masked_fill(below, _HIDDEN), vectors)
        return mixed if null is None else torch.where(below.all(-1, keepdim=True), null.to(mixed.dtype), mixed)

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        r""":math:`\max(0, m - \psi)` for the right candidate, :math:`\max(0, m + \psi)` for every other (eq. 4)."""
        right = candidates.entities == gold(candidates)[:, None]
        kept = candidates.entities != PADDING
        losses = (self.margin + torch.where(right, -scores, scores)).clamp(min=0)
        return losses[kept], kept.nonzero()[:, 0]

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """The best candidate where it lies above the threshold."""
        return _best(scores, candidates, self.threshold)


@dataclass(frozen=True)
class BySoftmax:
    """One of the candidates is right: word senses."""

    def mix(self, scores: Tensor, vectors: Tensor, null: Tensor | None) -> Tensor:
        """The softmax over candidates."""
        return _mixed(scores, vectors)

    def losses(self, scores: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the right candidate; of the first one where none is, as in the released code."""
        spans = (candidates.entities != PADDING).any(-1).nonzero().squeeze(1)
        right = candidates.entities[spans] == gold(candidates)[spans][:, None]
        return F.cross_entropy(scores[spans], right.long().argmax(-1), reduction="none"), spans

    def named(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """The best candidate."""
        return _best(scores, candidates, 0.1 * _HIDDEN)


def gold(candidates: Candidates) -> Tensor:
    """The entities that are meant, [S].

    Raises:
        UserError: the candidates do not say.
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
