"""Word-knowledge graphs as pretraining data (CoLAKE): words, entities and relations are masked and predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles
from mm_kptm.knowledge.injection.word_graph import SPECIALS, WordGraph, read_graphs, renumbered, tokens_of_graphs
from mm_kptm.knowledge.objectives.masked_nodes import WORD_GRAPHS
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import Offers
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of

UNKNOWN = SPECIALS[0]


@dataclass(frozen=True, kw_only=True)
class WordGraphs(SplitFiles):
    """A graph a line, in the form of CoLAKE's released pretraining files; numbers of words are the vocabulary's."""

    name: Literal["word-graphs"]


@dataclass(frozen=True, eq=False)
class GraphSource:
    """Graphs as texts of nodes; an entity or relation that training never saw is the unknown one.

    Args:
        graphs: to be read.
        entities: numbers by name, special ones among them.
        relations: likewise.
    """

    graphs: Sequence[WordGraph]
    entities: Mapping[str, int]
    relations: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.graphs)

    def length(self, index: int) -> int:
        """Nodes of a graph."""
        return len(self.graphs[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given graphs; nothing is drawn."""
        chosen = [self._known(self.graphs[index]) for index in indices]
        return Inputs(text=tokens_of_graphs(chosen, self.entities, self.relations))

    def counts(self) -> Tensor:
        """Frequency of each entity in these graphs, 0 for special ones, [entities]."""
        counted = Counter(name for graph in self.graphs for name in graph.entities)
        return torch.tensor([0 if name in SPECIALS else counted[name] for name in self.entities], dtype=torch.long)

    def _known(self, graph: WordGraph) -> WordGraph:
        entities, relations = (
            tuple(name if name in numbers else UNKNOWN for name in names)
            for names, numbers in ((graph.entities, self.entities), (graph.relations, self.relations))
        )
        return replace(graph, entities=entities, relations=relations)


def pretraining(data: WordGraphs, request: DataRequest) -> PreparedData:
    """Graphs in the order of the file; entities and relations are numbered as training meets them."""
    tokenizer = data.tokenizer()

    @cache
    def graphs(split: str) -> tuple[WordGraph, ...]:
        return tuple(read_graphs(data.files[split]))

    entities, _ = renumbered((name for graph in graphs("train") for name in graph.entities), {})
    relations, _ = renumbered((name for graph in graphs("train") for name in graph.relations), {})
    counts = GraphSource(graphs("train"), entities, relations).counts()
    offers = Offers(data.name, {WORD_GRAPHS: lambda: (counts, len(relations))})
    objectives = request.built_objectives(offers, tokenizer)

    def source(split: str) -> ObjectiveSource:
        return ObjectiveSource(GraphSource(graphs(split), entities, relations), Objectives(objectives))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "num_entities": len(entities), "num_relations": len(relations)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


PRETRAINING_SUPPLY = TaskDataset(None, WordGraphs, pretraining)
