"""How true a triple looks to embeddings: the published scores, of one query against every entity at once.

A score reads two tables, of entities [N, D] and of relations [R, D], real or complex. Higher is more plausible.

Shapes: N entities, R relations, Q queries, B triples, D dim.
"""

from __future__ import annotations

import cmath
from typing import Protocol

import torch
from torch import Tensor

from mm_kptm.errors import UserError, nearest

_PIECE = 16  # dimensions whose distances a CPU sums at once


class Scorer(Protocol):
    """Scores queries against every entity; ranking needs no more."""

    @property
    def num_entities(self) -> int:
        """N."""

    @property
    def num_relations(self) -> int:
        """R."""

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail of queries [Q]: [Q, N]."""

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head of queries [Q]: [Q, N]."""


class _Tables:
    """Two tables that hold numbers and fit each other."""

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
        """N."""
        return len(self.entity)

    @property
    def num_relations(self) -> int:
        """R."""
        return len(self.relation)


class TransE(_Tables):
    """The distance that remains after the relation's step, negative (Bordes et al. 2013, eq. 1).

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
        """The score of each triple, [B]."""
        apart = self.entity[heads] + self.relation[relations] - self.entity[tails]
        return -torch.linalg.vector_norm(apart, ord=self.norm, dim=-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail, [Q, N]."""
        return _nearness(self.entity[heads] + self.relation[relations], self.entity, self.norm)

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head, [Q, N]."""
        return _nearness(self.entity[tails] - self.relation[relations], self.entity, self.norm)


class DistMult(_Tables):
    """The product of all three vectors, summed (Yang et al. 2015, eq. 2)."""

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """The score of each triple, [B]."""
        return (self.entity[heads] * self.relation[relations] * self.entity[tails]).sum(-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail, [Q, N]."""
        return (self.entity[heads] * self.relation[relations]) @ self.entity.T

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head, [Q, N]; the score knows no direction."""
        return self.tails(tails, relations)


class ComplEx(_Tables):
    """The real part of head times relation times the conjugate of the tail (Trouillon et al. 2016, eq. 10)."""

    complex = True

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """The score of each triple, [B]."""
        return (self.entity[heads] * self.relation[relations] * self.entity[tails].conj()).sum(-1).real

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail, [Q, N]."""
        return _flat(self.entity[heads] * self.relation[relations]) @ _flat(self.entity).T

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head, [Q, N]."""
        asked = (self.relation[relations] * self.entity[tails].conj()).conj()
        return _flat(asked.resolve_conj()) @ _flat(self.entity).T


class RotatE(_Tables):
    """The distance that remains after the relation's turn, negative (Sun et al. 2019, eq. 3).

    The norm is the Euclidean one over all components together, as pykeen has it; the released code sums the moduli.
    """

    complex = True

    def triples(self, heads: Tensor, relations: Tensor, tails: Tensor) -> Tensor:
        """The score of each triple, [B]."""
        apart = self.entity[heads] * self.relation[relations] - self.entity[tails]
        return -torch.linalg.vector_norm(_flat(apart), dim=-1)

    def tails(self, heads: Tensor, relations: Tensor) -> Tensor:
        """Every entity as the tail, [Q, N]."""
        return _nearness(_flat(self.entity[heads] * self.relation[relations]), _flat(self.entity), 2)

    def heads(self, relations: Tensor, tails: Tensor) -> Tensor:
        """Every entity as the head, [Q, N]; all entities are turned once for each run of queries about one relation."""
        distinct, runs = relations.unique_consecutive(return_counts=True)
        turns = self.relation[distinct]
        queries = _flat(self.entity[tails]).split(runs.tolist())
        return torch.cat(
            [_nearness(rows, _flat(self.entity * turn), 2) for rows, turn in zip(queries, turns, strict=True)]
        )


SCORES: dict[str, type[TransE | DistMult | ComplEx | RotatE]] = {
    kind.__name__.lower(): kind for kind in (TransE, DistMult, ComplEx, RotatE)
}


def score_of(name: str) -> type[TransE | DistMult | ComplEx | RotatE]:
    """The score of that name, in any case of letters.

    Raises:
        UserError: none is called so.
    """
    if name.lower() not in SCORES:
        raise UserError(f"no score is called {name!r}{nearest(name.lower(), SCORES)}")
    return SCORES[name.lower()]


def _flat(values: Tensor) -> Tensor:
    return torch.view_as_real(values).flatten(-2)


def _nearness(queries: Tensor, candidates: Tensor, norm: int) -> Tensor:
    """Minus the distances of [Q, D] and [N, D], [Q, N]."""
    if norm == 2:
        return _apart(queries, candidates, 2).neg_()
    # a sum over dimensions is one over pieces of them, and short vectors stay in the nearest cache of a CPU
    piece = _PIECE if queries.device.type == "cpu" else max(1, queries.shape[1])
    pieces = zip(queries.split(piece, 1), candidates.split(piece, 1), strict=True)
    far = _apart(*next(pieces), 1)
    for some, others in pieces:
        far += _apart(some, others, 1)
    return far.neg_()


def _apart(queries: Tensor, candidates: Tensor, norm: int) -> Tensor:
    # A matrix product would be quicker, but cancels, and tells some equal candidates apart by rounding: ties are lost.
    return torch.cdist(queries, candidates, p=norm, compute_mode="donot_use_mm_for_euclid_dist")
