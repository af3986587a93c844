r"""Scores of triples as queries and answers: a vector, and those that are near to it or have a large product with it.

Heads and tails are asked for in the same way: :math:`\|h + r - t\| = \|(t - r) - h\|`, and
:math:`\|h r - t\| = \|\bar r t - h\|` for rotations. Complex vectors are rows of real and imaginary parts in turn.

Shapes: B triples in G blocks of C, K answers of a block, D real values of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Geometry(Protocol):
    """Score of a model by a query: the vector that the true answer is near to, or has a large product with."""

    width: int  #: real values of a dim
    #: Weights of the lengths of what a triple and its negatives read, as pykeen regularises the model.
    entity_penalty: float
    relation_penalty: float

    def draw_entities(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill rows with vectors of entities to start from, as pykeen does."""

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        """Fill rows with vectors of relations to start from."""

    def tail_query(self, heads: Tensor, relations: Tensor) -> Tensor:
        """What tails are compared with, [B, D]."""

    def head_query(self, relations: Tensor, tails: Tensor) -> Tensor:
        """What heads are compared with, [B, D]."""

    def score(self, queries: Tensor, answers: Tensor) -> Tensor:
        """Score of each query and its answer, [B]."""

    def scores(self, queries: Tensor, answers: Tensor) -> Tensor:
        """Scores of the queries [G, C, D] of each block with its answers [G, K, D], [G, C, K]."""

    def constrain_entities(self, rows: Tensor) -> Tensor:
        """Updated rows of entities as the model has them."""

    def constrain_relations(self, rows: Tensor) -> Tensor:
        """Updated rows of relations as the model has them."""


class _Uniform:
    """Vectors that start uniform, by Glorot and Bengio 2010 for a layer without inputs (pykeen's choice)."""

    def draw_entities(self, rows: Tensor, generator: torch.Generator) -> None:
        bound = math.sqrt(6 / rows.shape[1])
        rows.uniform_(-bound, bound, generator=generator)

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        self.draw_entities(rows, generator)


class _Distance(_Uniform):
    """Scores that are negative distances."""

    norm, entity_penalty, relation_penalty = 2.0, 0.0, 0.0

    def score(self, queries: Tensor, answers: Tensor) -> Tensor:
        return -torch.linalg.vector_norm(queries - answers, ord=self.norm, dim=-1)

    def scores(self, queries: Tensor, answers: Tensor) -> Tensor:
        return -torch.cdist(queries, answers, p=self.norm)


class _Product:
    """Scores that are inner products."""

    def score(self, queries: Tensor, answers: Tensor) -> Tensor:
        return (queries * answers).sum(-1)

    def scores(self, queries: Tensor, answers: Tensor) -> Tensor:
        return queries @ answers.mT

    def constrain_entities(self, rows: Tensor) -> Tensor:
        return rows

    def constrain_relations(self, rows: Tensor) -> Tensor:
        return rows


class TransEGeometry(_Distance):
    """TransE with vectors of entities on the unit sphere, as in pykeen."""

    width, norm = 1, 1.0

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        super().draw_relations(rows, generator)
        rows.copy_(F.normalize(rows))

    def tail_query(self, heads: Tensor, relations: Tensor) -> Tensor:
        return heads + relations

    def head_query(self, relations: Tensor, tails: Tensor) -> Tensor:
        return tails - relations

    def constrain_entities(self, rows: Tensor) -> Tensor:
        return F.normalize(rows)

    def constrain_relations(self, rows: Tensor) -> Tensor:
        return rows


class RotatEGeometry(_Distance):
    """RotatE: relations are rotations, complex numbers of modulus 1, which start from uniform angles."""

    width = 2

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        angles = 2 * math.pi * torch.rand(len(rows), rows.shape[1] // 2, generator=generator)
        rows.copy_(torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1))

    def tail_query(self, heads: Tensor, relations: Tensor) -> Tensor:
        return _times(heads, relations)

    def head_query(self, relations: Tensor, tails: Tensor) -> Tensor:
        return _times(tails, relations, conjugate=True)

    def constrain_entities(self, rows: Tensor) -> Tensor:
        return rows

    def constrain_relations(self, rows: Tensor) -> Tensor:
        return F.normalize(rows.unflatten(-1, (-1, 2)), dim=-1).flatten(-2)


class DistMultGeometry(_Product, _Uniform):
    """DistMult, with vectors of entities on the unit sphere and those of relations regularised (Yang et al. 2015)."""

    width, entity_penalty, relation_penalty = 1, 0.0, 0.1

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        rows.normal_(generator=generator)
        rows.copy_(F.normalize(rows))

    def constrain_entities(self, rows: Tensor) -> Tensor:
        return F.normalize(rows)

    def tail_query(self, heads: Tensor, relations: Tensor) -> Tensor:
        return heads * relations

    def head_query(self, relations: Tensor, tails: Tensor) -> Tensor:
        return tails * relations


class ComplExGeometry(_Product):
    """ComplEx; starts from a standard normal distribution as its released code and pykeen."""

    width, entity_penalty, relation_penalty = 2, 0.01, 0.01

    def draw_entities(self, rows: Tensor, generator: torch.Generator) -> None:
        rows.normal_(generator=generator)

    def draw_relations(self, rows: Tensor, generator: torch.Generator) -> None:
        rows.normal_(generator=generator)

    def tail_query(self, heads: Tensor, relations: Tensor) -> Tensor:
        return _times(heads, relations)

    def head_query(self, relations: Tensor, tails: Tensor) -> Tensor:
        return _times(tails, relations, conjugate=True)


GEOMETRIES: Mapping[str, type[TransEGeometry | RotatEGeometry | DistMultGeometry | ComplExGeometry]] = {
    "transe": TransEGeometry, "rotate": RotatEGeometry, "distmult": DistMultGeometry, "complex": ComplExGeometry,
}  # fmt: skip


def _times(left: Tensor, right: Tensor, *, conjugate: bool = False) -> Tensor:
    """Product of complex vectors whose real and imaginary parts alternate, by the conjugate of the right if asked."""
    one, other = (torch.view_as_complex(side.unflatten(-1, (-1, 2))) for side in (left, right))
    return torch.view_as_real(one * (other.conj() if conjugate else other)).flatten(-2)
