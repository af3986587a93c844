"""Embedding of the nodes of a word-knowledge graph, and its tied output layer.

Shapes: T nodes, P masked nodes, K candidates, D dim.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.knowledge.injection.word_graph import ENTITY, RELATION, WORD
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.submodules import submodule


class NodeEmbedding(TextEmbedding):
    """Word, entity and relation embeddings from separate tables, plus position and type embeddings (Sun et al. 2020).

    The segment of a node is its kind (section 3.2: the type embedding).
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        *,
        num_entities: int,
        num_relations: int,
        max_positions: int = 512,
        norm: nn.Module | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(vocab_size, dim, max_positions=max_positions, num_segments=3, norm=norm, dropout=dropout)
        self.entity = nn.Embedding(num_entities, dim)
        self.relation = nn.Embedding(num_relations, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        """Embedding of every node, [T, D]."""
        if tokens.vectors is not None:
            return super().forward(tokens)
        vectors = self.word.weight.new_zeros(len(tokens.ids), self.word.embedding_dim)
        kinds = (
            (WORD, self.word, "word", "vocab_size"),
            (ENTITY, self.entity, "entity", "num_entities"),
            (RELATION, self.relation, "relation", "num_relations"),
        )
        for kind, table, name, size in kinds:
            rows = (tokens.segments == kind).nonzero().squeeze(1)
            self._check_ids(tokens.ids[rows], table, name, "number nodes as the model does", size)
            vectors = vectors.index_copy(0, rows, table(tokens.ids[rows]))
        return super().forward(replace(tokens, vectors=vectors))


class TiedCandidates(nn.Module):
    """Tied output layer over some rows of a table, given at run time, without bias (Sun et al. 2020, section 3.2)."""

    def __init__(self, transform: nn.Module, table: nn.Embedding) -> None:
        super().__init__()
        self.transform = transform
        self.table = table

    def forward(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Scores of [P, D] against the table's rows ``candidates`` [K], [P, K]."""
        scores: Tensor = self.transform(rows) @ self.table(candidates).T
        return scores


@torch.no_grad()
def start_from(classes: nn.Module, pretrained: nn.Module, rows: Tensor | None = None) -> None:
    """Initialise a fine-tuning head from a pretraining head (Sun et al. 2020, released code).

    Args:
        classes: fine-tuning head with ``dense`` and ``norm``, and ``out`` when rows are given.
        pretrained: pretraining head with a transform; with rows, the one of the relations.
        rows: relation of each class, [C]; each class is initialised with its relation's vector.
    """
    for part in ("dense", "norm"):
        classes.get_submodule(part).load_state_dict(pretrained.get_submodule(f"transform.{part}").state_dict())
    if rows is not None:
        relations = submodule(pretrained, "word", nn.Embedding)
        submodule(classes, "out", nn.Linear).weight.copy_(relations.weight[rows])
