"""Scoring functions of knowledge graph embeddings, of one query against every entity at once.

Each score has two tables, entities [N, D] and relations [R, D], real or complex. Higher is more plausible.

Shapes: N entities, R relations, Q queries, B triples, D dim.
"""

from __future__ import annotations

import cmath
from copy import copy
from typing import Protocol, Self

import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest

_PIECE = 16  # dimensions whose distances are summed at once on a CPU


class Scorer(Protocol):
    """Protocol of a scorer: scores of queries against every entity, as ranking needs them."""

    @property
    def num_entities(self) -> int:
        """Number of entities, N."""

    @property
    def num_relations(self) -> int:
        """Number of relations, R."""

    @property
    def device(self) -> torch.device:
        """Where the vectors are, and queries and scores with them."""

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail of Q queries, [Q, N]."""

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head of Q queries, [Q, N]."""


class _Tables:
    """Checked entity and relation tables of equal width."""

    complex = False  #: whether the entries are complex

    def __init__(self, entities: Tensor, relations: Tensor) -> None:
        for name, table in (("entities", entities), ("relations", relations)):
            if table.dim() != 2 or table.is_complex() != self.complex:
                kind = "complex" if self.complex else "real"
                raise UserError(
                    f"{type(self).__name__} scores {kind} vectors, one a row, but the {name} are {table.dtype} "
                    f"of shape {list(table.shape)}"
                )
            if not cmath.isfinite(table.sum(dtype=torch.complex128 if self.complex else torch.float64).item()):
                raise UserError(f"the vectors of the {name} hold values that are no finite numbers; train them anew")
        if entities.shape[1] != relations.shape[1]:
            raise UserError(
                f"entities have vectors of {entities.shape[1]} and relations of {relations.shape[1]}; "
                f"{type(self).__name__} needs equal sizes"
            )
        self.entity, self.relation = entities, relations

    @property
    def num_entities(self) -> int:
        """Number of entities, N."""
        return len(self.entity)

    @property
    def num_relations(self) -> int:
        """Number of relations, R."""
        return len(self.relation)

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.entity.device

    def to(self, device: torch.device | str) -> Self:
        """The same score with its vectors on ``device``."""
        moved = copy(self)
        moved.entity, moved.relation = self.entity.to(device), self.relation.to(device)
        return moved


class TransE(_Tables):
    """TransE: the negative distance -||h + r - t|| (Bordes et al. 2013, eq. 1).

    Args:
        entities: [N, D].
        relations: [R, D].
        norm: 1 or 2.
    """

    def __init__(self, entities: Tensor, relations: Tensor, *, norm: int = 1) -> None:
        super().__init__(entities, relations)
        if norm not in (1, 2):
            raise UserError(f"TransE measures distance with norm 1 or 2, not {norm}")
        self.norm = norm

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Score of each triple, [B]."""
        apart = self.entity[heads] + self.relation[relations] - self.entity[tails]
        return -torch.linalg.vector_norm(apart, ord=self.norm, dim=-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail, [Q, N]."""
        return _nearness(self.entity[heads] + self.relation[relations], self.entity, self.norm)

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head, [Q, N]."""
        return _nearness(self.entity[tails] - self.relation[relations], self.entity, self.norm)


class DistMult(_Tables):
    """DistMult: the sum of h * r * t (Yang et al. 2015, eq. 2)."""

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Score of each triple, [B]."""
        return (self.entity[heads] * self.relation[relations] * self.entity[tails]).sum(-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail, [Q, N]."""
        return (self.entity[heads] * self.relation[relations]) @ self.entity.T

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head, [Q, N]; the score is symmetric."""
        return self.tails(tails, relations)


class ComplEx(_Tables):
    """ComplEx: the real part of the sum of h * r * conj(t) (Trouillon et al. 2016, eq. 10)."""

    complex = True

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Score of each triple, [B]."""
        return (self.entity[heads] * self.relation[relations] * self.entity[tails].conj()).sum(-1).real

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail, [Q, N]."""
        return _flat(self.entity[heads] * self.relation[relations]) @ _flat(self.entity).T

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head, [Q, N]."""
        queries = (self.relation[relations] * self.entity[tails].conj()).conj()
        return _flat(queries.resolve_conj()) @ _flat(self.entity).T


class RotatE(_Tables):
    """RotatE: the negative distance -||h * r - t||, r a rotation in the complex plane (Sun et al. 2019, eq. 3).

    The norm is the Euclidean one over all components together, as in pykeen; the released code sums the moduli.
    """

    complex = True

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """Score of each triple, [B]."""
        apart = self.entity[heads] * self.relation[relations] - self.entity[tails]
        return -torch.linalg.vector_norm(_flat(apart), dim=-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Scores of every entity as the tail, [Q, N]."""
        return _nearness(_flat(self.entity[heads] * self.relation[relations]), _flat(self.entity), 2)

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Scores of every entity as the head, [Q, N]; entities are rotated once per run of queries of one relation."""
        distinct, runs = relations.unique_consecutive(return_counts=True)
        rotations = self.relation[distinct]
        queries = _flat(self.entity[tails]).split(runs.tolist())
        return torch.cat(
            [_nearness(rows, _flat(self.entity * by), 2) for rows, by in zip(queries, rotations, strict=True)]
        )


SCORES: dict[str, type[TransE | DistMult | ComplEx | RotatE]] = {
    kind.__name__.lower(): kind for kind in (TransE, DistMult, ComplEx, RotatE)
}


def score_of(name: str) -> type[TransE | DistMult | ComplEx | RotatE]:
    """Scoring function by name, in any case.

    Raises:
        UserError: there is no such score.
    """
    if name.lower() not in SCORES:
        raise UserError(f"no score is called {name!r}{nearest(name.lower(), SCORES)}")
    return SCORES[name.lower()]


def _flat(values: Tensor) -> Tensor:
    return torch.view_as_real(values).flatten(-2)


def _nearness(queries: Tensor, candidates: Tensor, norm: int) -> Tensor:
    """Negative distances between [Q, D] and [N, D], [Q, N]."""
    if norm == 2:
        return _apart(queries, candidates, 2).neg_()
    # sum the distance over pieces of the dimensions: short vectors stay in the CPU's first-level cache
    piece = _PIECE if queries.device.type == "cpu" else max(1, queries.shape[1])
    pieces = zip(queries.split(piece, 1), candidates.split(piece, 1), strict=True)
    far = _apart(*next(pieces), 1)
    for some, others in pieces:
        far += _apart(some, others, 1)
    return far.neg_()


def _apart(queries: Tensor, candidates: Tensor, norm: int) -> Tensor:
    # A matrix product would be faster, but rounding would break ties between equal candidates.
    return torch.cdist(queries, candidates, p=norm, compute_mode="donot_use_mm_for_euclid_dist")
