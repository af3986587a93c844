"""Attention masks within a sequence, each as a function of row numbers.

Each mask is a few integers per row; the attention back end lowers it once per batch.

Shapes: T rows of the batch, n rows of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mm_kptm.batch import AttentionMask, SequenceLayout
from mm_kptm.errors import UserError


@dataclass(frozen=True, eq=False)
class Causal(AttentionMask):
    """Causal mask: a row attends to itself and earlier rows."""

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return queries >= sources

    def scatter(self, places: Tensor, total: int) -> Causal:
        return self


@dataclass(frozen=True, eq=False)
class Prefix(AttentionMask):
    """Prefix mask: prefix rows attend to the whole prefix; later rows also to themselves and earlier rows.

    The mask of sequence-to-sequence pretraining in one encoder (Dong et al. 2019, UniLM, section 2.3).
    """

    inside: Tensor  #: true where the row belongs to the prefix, [T]

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return self.inside[sources] | (queries >= sources)

    def scatter(self, places: Tensor, total: int) -> Prefix:
        inside = torch.ones(total, dtype=torch.bool, device=places.device)
        inside[places] = self.inside
        return Prefix(inside)


@dataclass(frozen=True, eq=False)
class Branches(AttentionMask):
    """Sentence-tree mask: the trunk attends to itself, a branch to itself and its anchor word only.

    The visible matrix of K-BERT (Liu et al. 2020, eq. 3) from two integers per row.

    >>> tree = Branches(words=torch.tensor([0, 1, 1, 2]), branches=torch.tensor([0, 0, 1, 0]))
    >>> rows = torch.arange(4)
    >>> tree.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 1, 0, 1],
            [1, 1, 1, 1],
            [0, 1, 1, 0],
            [1, 1, 0, 1]], dtype=torch.int32)
    """

    words: Tensor  #: index of the trunk word that a row belongs to or branches from, [T]
    branches: Tensor  #: 0 on the trunk, otherwise the index of the branch at its word, [T]

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        query_branch, source_branch = self.branches[queries], self.branches[sources]
        on_trunk, from_trunk = query_branch == 0, source_branch == 0
        related = self.words[queries] == self.words[sources]
        return (on_trunk & from_trunk) | (related & (on_trunk | from_trunk | (query_branch == source_branch)))

    def scatter(self, places: Tensor, total: int) -> Branches:
        words = self.words.new_full((total,), -1)
        branches = self.branches.new_zeros(total)
        words[places] = self.words
        branches[places] = self.branches
        return type(self)(words, branches)


class OpenBranches(Branches):
    """Sentence tree without its visible matrix, an ablation of Liu et al. (2020): every row attends to every row.

    Where each branch hangs is still known, for whoever shows or counts the facts.

    >>> tree = OpenBranches(words=torch.tensor([0, 1, 1, 2]), branches=torch.tensor([0, 0, 1, 0]))
    >>> rows = torch.arange(4)
    >>> bool(tree.mask_mod(rows[:, None], rows[None, :]).all())
    True
    """

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return (queries >= 0) | (sources >= 0)


_JOINS_NONE = -2


@dataclass(frozen=True, eq=False)
class CausalTree(AttentionMask):
    """Sentence-tree mask of an encoder that reads from left to right; a word sees its branches, though they come later.

    >>> tree = CausalTree(Branches(words=torch.tensor([0, 1, 1, 2]), branches=torch.tensor([0, 0, 1, 0])))
    >>> rows = torch.arange(4)
    >>> tree.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 0],
            [1, 1, 0, 1]], dtype=torch.int32)
    """

    tree: Branches

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        branches = self.tree.branches
        hangs = (branches[queries] == 0) & (branches[sources] != 0)
        return self.tree.mask_mod(queries, sources) & ((queries >= sources) | hangs)

    def scatter(self, places: Tensor, total: int) -> CausalTree:
        return CausalTree(self.tree.scatter(places, total))


@dataclass(frozen=True, eq=False)
class LinkMask(AttentionMask):
    """Word-knowledge-graph mask: the trunk attends to itself, a relation and the two nodes it links to each other.

    The adjacency of CoLAKE's word-knowledge graph (Sun et al. 2020, section 3.1) from three integers per row: words and
    the entities mentioned among them are the trunk, a relation links its head and its tail, and a tail off the trunk
    sees only itself and its relations.

    >>> graph = LinkMask.of(SequenceLayout((4,)), torch.tensor([True, True, False, False]), [[(3, 1, 2)]])
    >>> rows = torch.arange(4)
    >>> graph.mask_mod(rows[:, None], rows[None, :]).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 1],
            [0, 0, 1, 1],
            [0, 1, 1, 1]], dtype=torch.int32)
    """

    nodes: Tensor  #: index of the row's node in its sequence, [T]
    trunk: Tensor  #: true where on the trunk, [T]
    heads: Tensor  #: head node of a relation row, -2 for other rows, [T]
    tails: Tensor  #: tail node of a relation row, -2 for other rows, [T]

    @classmethod
    def of(cls, layout: SequenceLayout, trunk: Tensor, links: Sequence[Sequence[tuple[int, int, int]]]) -> LinkMask:
        """From the (relation, head, tail) rows of every sequence, counted from its first row."""
        heads = torch.full((layout.total,), _JOINS_NONE)
        tails = heads.clone()
        for first, joined in zip(layout.offsets, links, strict=False):
            for link, head, tail in joined:
                heads[first + link], tails[first + link] = head, tail
        return cls(layout.offsets_in_sequence(torch.device("cpu")), trunk, heads, tails)

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        query_nodes, source_nodes = self.nodes[queries], self.nodes[sources]
        joins = (self.heads[queries] == source_nodes) | (self.tails[queries] == source_nodes)
        joined = (self.heads[sources] == query_nodes) | (self.tails[sources] == query_nodes)
        return (self.trunk[queries] & self.trunk[sources]) | (query_nodes == source_nodes) | joins | joined

    def scatter(self, places: Tensor, total: int) -> LinkMask:
        def moved(old: Tensor, value: int) -> Tensor:
            new = old.new_full((total,), value)
            new[places] = old
            return new

        ends = moved(self.heads, _JOINS_NONE), moved(self.tails, _JOINS_NONE)
        return LinkMask(moved(self.nodes, -1), moved(self.trunk, 1), *ends)


@dataclass(frozen=True, eq=False)
class Matrix(AttentionMask):
    """Arbitrary mask, one matrix per sequence; quadratic in memory, for files and tests."""

    cells: Tensor  #: the matrices end to end, row by row, [sum of n * n]
    starts: Tensor  #: offset of a row's matrix row in ``cells``, -1 for a row that attends to all, [T]
    columns: Tensor  #: column of a row in its matrix, [T]

    may_hide_all: ClassVar[bool] = True

    @classmethod
    def of(cls, matrices: Sequence[Tensor]) -> Matrix:
        """From one boolean matrix [n, n] per sequence, true where the row attends to the column.

        Raises:
            UserError: a matrix is not square.
        """
        for number, matrix in enumerate(matrices):
            if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
                raise UserError(f"visibility {number} must be a square matrix, but its shape is {list(matrix.shape)}")
        layout = SequenceLayout(tuple(len(matrix) for matrix in matrices))
        lengths = torch.tensor(layout.lengths, dtype=torch.long)
        squares = torch.cat([lengths.new_zeros(1), (lengths * lengths).cumsum(0)[:-1]])
        sequence_ids, columns = (
            layout.sequence_ids(torch.device("cpu")),
            layout.offsets_in_sequence(torch.device("cpu")),
        )
        cells = torch.cat([matrix.bool().flatten() for matrix in matrices])
        return cls(cells, squares[sequence_ids] + columns * lengths[sequence_ids], columns)

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        starts = self.starts[queries]
        ordinary = (starts < 0) | (self.starts[sources] < 0)
        cell = (starts + self.columns[sources]).clamp(0, len(self.cells) - 1)
        return ordinary | self.cells[cell]

    def scatter(self, places: Tensor, total: int) -> Matrix:
        starts = self.starts.new_full((total,), -1)
        columns = self.columns.new_zeros(total)
        starts[places] = self.starts
        columns[places] = self.columns
        return Matrix(self.cells, starts, columns)


@dataclass(frozen=True, eq=False)
class Open(AttentionMask):
    """Cross-attention mask of a stream with masked rows: the rows visible to an ordinary row of that stream."""

    rows: Tensor  #: true where visible, [T]

    @classmethod
    def of(cls, mask: AttentionMask, total: int, device: torch.device) -> Open:
        """The rows that ``mask`` makes visible to one further row behind the ``total`` rows."""
        numbers = torch.arange(total, device=device)
        return cls(mask.scatter(numbers, total + 1).mask_mod(numbers.new_tensor([total]), numbers))

    def mask_mod(self, queries: Tensor, sources: Tensor) -> Tensor:
        return self.rows[sources]

    def scatter(self, places: Tensor, total: int) -> Open:
        rows = torch.ones(total, dtype=torch.bool, device=places.device)
        rows[places] = self.rows
        return Open(rows)
