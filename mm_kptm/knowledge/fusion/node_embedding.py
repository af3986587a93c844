"""What nodes of a word-knowledge graph hold before the first layer, and what they are told apart by after the last.

Shapes: T nodes, P nodes to be found, K candidates, D dim.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.knowledge.injection.word_graph import ENTITY, RELATION, WORD
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.submodules import submodule


class NodeEmbedding(TextEmbedding):
    """Words, entities and relations, each from a table of its own, then what text embeddings add (Sun et al. 2020).

    The segment of a node says its kind (section 3.2: the type embedding).
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
        """The embedding of every node, [T, D]."""
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
    """Scores against some rows of a table, given at run time, without a bias (Sun et al. 2020, section 3.2)."""

    def __init__(self, transform: nn.Module, table: nn.Embedding) -> None:
        super().__init__()
        self.transform = transform
        self.table = table

    def forward(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """[P, D] against the rows of the table that ``candidates`` [K] number: [P, K]."""
        scores: Tensor = self.transform(rows) @ self.table(candidates).T
        return scores


@torch.no_grad()
def start_from(classes: nn.Module, pretrained: nn.Module, rows: Tensor | None = None) -> None:
    """Let a head for fine-tuning begin as a head of the pretraining ends (Sun et al. 2020, released code).

    Args:
        classes: with ``dense`` and ``norm``, and ``out`` when rows are given.
        pretrained: a head with a transform; with rows, that of the relations.
        rows: the relation that each class is, [C]; each class then begins with the vector of its relation.
    """
    for part in ("dense", "norm"):
        classes.get_submodule(part).load_state_dict(pretrained.get_submodule(f"transform.{part}").state_dict())
    if rows is not None:
        relations = submodule(pretrained, "word", nn.Embedding)
        submodule(classes, "out", nn.Linear).weight.copy_(relations.weight[rows])
