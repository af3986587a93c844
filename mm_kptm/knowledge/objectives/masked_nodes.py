"""Masked words, entities and relations of word-knowledge graphs (Sun et al. 2020, CoLAKE, section 3.3).

Shapes: T nodes, P masked nodes of a kind, K candidates, B graphs.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, SequenceLayout, Tokens
from mm_kptm.data.masking.static import Treatment, budget, shuffled
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.word_graph import ENTITY, MASK, RELATION, SPECIALS
from mm_kptm.nn.visibility import LinkMask
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import ExactCount, Masking
from mm_kptm.systems.system import System

#: What a dataset offers: the frequency of each entity (special ones 0), [entities], and the number of relations.
WORD_GRAPHS = "word-knowledge graphs"
HEADS = ("masked-tokens", "masked-entities", "masked-relations")  #: heads of the node kinds, in their order


@dataclass(frozen=True, eq=False)
class NodeTargets(Movable):
    """Labels of the masked nodes of one kind."""

    rows: Tensor  #: [P]
    labels: Tensor  #: token or relation ids; for entities indices among the candidates, [P]
    sequence_ids: Tensor  #: graph of each node, [P]


@dataclass(frozen=True, eq=False)
class HiddenNodes(Movable):
    """Batch of graphs with masked nodes, their labels, and the candidate entities."""

    inputs: Inputs
    words: NodeTargets
    entities: NodeTargets
    relations: NodeTargets
    candidates: Tensor  #: entities, [K]

    def __len__(self) -> int:
        return len(self.inputs)


def released_masking(mask_id: int, count: int, never: Collection[int]) -> Masking:
    """Published masking of a kind: 15 % of its nodes, between 1 and 15.

    Args:
        mask_id: mask id of the kind.
        count: ids of the kind are 0 to ``count - 1``, and any may be a random replacement.
        never: ids that are never masked.
    """
    return Masking(mask_id, (0, count), frozenset(never), policy=ExactCount(at_most=15))


class MaskedNodes:
    """Mask nodes of every kind and predict them; entities among those of the batch and sampled negatives.

    Mentioned entities that are not masked are predicted as well, most of them unchanged: so every mention trains its
    entity.

    Args:
        words, entities, relations: masking of each kind.
        weights: sampling weight of each entity as a negative; :func:`frequencies` of their counts.
        num_negatives: negatives sampled per predicted entity; duplicates are removed.
        shown: share of unmasked mentions that stay; half of the others are masked, half replaced.
    """

    name = "masked-nodes"
    heads = HEADS

    def __init__(
        self,
        words: Masking,
        entities: Masking,
        relations: Masking,
        weights: Tensor,
        *,
        num_negatives: int = 200,
        shown: float = 0.8,
    ) -> None:
        self.maskings = (words, entities, relations)
        self.weights = weights
        self.num_negatives = num_negatives
        self.shown = shown

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> HiddenNodes:
        """Mask some nodes of every kind.

        Raises:
            UserError: there is no text, or a node kind is unknown.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-nodes hides nodes of word-knowledge graphs, but the inputs have no text")
        if len(text.segments) and not 0 <= int(text.segments.min()) <= int(text.segments.max()) <= RELATION:
            raise UserError("masked-nodes reads kinds (0 word, 1 entity, 2 relation) as segments, but there are others")
        ids, labels = text.ids, []
        sequence_ids = text.layout.sequence_ids(ids.device)
        for kind, masking in enumerate(self.maskings):
            rows = (text.segments == kind).nonzero().squeeze(1)
            lengths = sequence_ids[rows].bincount(minlength=len(text.layout))
            block = Tokens(
                text.ids[rows], SequenceLayout(tuple(lengths.tolist())), text.positions[rows], text.segments[rows]
            )
            masked, chosen = masking.mask(block, generator)
            masked_ids = masked.ids
            if kind == ENTITY:
                masked_ids, chosen = self._mentions(block, masked_ids, chosen, _mentioned(text)[rows], generator)
            ids = ids.index_copy(0, rows, masked_ids)
            labels.append(NodeTargets(rows[chosen], text.ids[rows[chosen]], sequence_ids[rows[chosen]]))
        words, entities, relations = labels
        candidates = self.candidates(entities.labels, generator)
        entities = replace(entities, labels=places_among(entities.labels, candidates))
        return HiddenNodes(inputs.with_streams(text=replace(text, ids=ids)), words, entities, relations, candidates)

    def _mentions(
        self, block: Tokens, masked_ids: Tensor, chosen: Tensor, mentioned: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Predict the mentions that were not masked as well."""
        masking = self.maskings[ENTITY]
        half = (1 - self.shown) / 2
        others = mentioned.index_fill(0, chosen, False)
        rest = replace(masking, policy=_All(), mask_share=half, random_share=half)
        units = torch.where(others, torch.arange(len(others)), NO_GROUP)
        masked, more = rest.mask(replace(block, ids=masked_ids), generator, groups=units)
        return masked.ids, torch.cat([chosen, more]).sort().values

    def candidates(self, sought: Tensor, generator: torch.Generator) -> Tensor:
        """Candidate entities without duplicates: the predicted ones in batch order, then sampled negatives."""
        if not len(sought):
            return sought.new_ones(1)  # one candidate keeps the shapes valid
        count = self.num_negatives * len(dict.fromkeys(sought.tolist()))
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator) if count else sought[:0]
        return torch.tensor(list(dict.fromkeys([*sought.tolist(), *drawn.tolist()])))

    def losses(self, system: System, batch: HiddenNodes) -> dict[str, Tensor]:
        """Cross-entropies of all masked nodes by head, [P] each."""
        parts = (batch.words, batch.entities, batch.relations)
        rows = torch.cat([part.rows for part in parts])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": rows}, pooled=False))
        states = encoded.text.split([len(part.rows) for part in parts])
        losses = {}
        for kind, (name, part, own) in enumerate(zip(HEADS, parts, states, strict=True)):
            head = system.head(name)
            scores = head(own, batch.candidates) if kind == ENTITY else head(own)
            losses[name] = F.cross_entropy(scores, part.labels, reduction="none")
        return losses

    def loss(self, system: System, batch: HiddenNodes) -> Tensor:
        """Sum of the mean losses over words, entities and relations.

        An empty kind adds nothing, where the released code returns NaN.
        """
        return torch.stack([mean(losses) for losses in self.losses(system, batch).values()]).sum()

    def measure(self, system: System, batch: HiddenNodes) -> Tensor:
        """The same sum for each graph, [B]; a kind's mean over the batch where a graph has none of it."""
        losses = self.losses(system, batch).values()
        parts = (batch.words, batch.entities, batch.relations)
        each = [mean_of_each(own, part.sequence_ids, len(batch)) for own, part in zip(losses, parts, strict=True)]
        return torch.stack(each).sum(0)


@dataclass(frozen=True)
class _All:
    """Masking policy that takes every maskable row."""

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may


def _mentioned(text: Tokens) -> Tensor:
    """Mask of the nodes that belong to the text, [T]."""
    return (
        text.attention_mask.trunk
        if isinstance(text.attention_mask, LinkMask)
        else torch.ones_like(text.ids, dtype=torch.bool)
    )


def places_among(entities: Tensor, candidates: Tensor) -> Tensor:
    """Index of each entity among the candidates, [P]."""
    positions = {entity: place for place, entity in enumerate(candidates.tolist())}
    return torch.tensor([positions[entity] for entity in entities.tolist()], dtype=torch.long)


def frequencies(counts: Tensor, power: float = 0.75) -> Tensor:
    """Sampling weights of entities from their counts (the unigram distribution of Mikolov et al. 2013)."""
    weights = (counts.double() / counts.sum()) ** power
    return (weights / weights.sum()).float()


def hide_nodes(
    ids: Sequence[int],
    treatment: Treatment[int],
    rng: random.Random,
    *,
    never: Collection[int],
    mentioned: Collection[int] = (),
) -> tuple[list[int], dict[int, int]]:
    """Masks of one kind by the released script, value by value for the same generator.

    The script makes a new generator, ``random.Random(2020)``, for every kind of every graph: its masks depend on the
    number of nodes alone, and so are the same in every epoch.

    Args:
        ids: node ids of one kind.
        treatment: replacement of a masked node.
        rng: random generator.
        never: ids that are never masked.
        mentioned: ids of entities that the text mentions; all of them are predicted.

    Returns:
        The ids with some masked, and the original id at each predicted position, in order.
    """
    masked, labels = list(ids), {}
    count = budget(len(ids), rate=0.15, at_most=15)
    order = shuffled([NO_GROUP if node in never else place for place, node in enumerate(ids)], rng)
    for number, (place,) in enumerate(order):
        if number < count:
            masked[place] = treatment(ids[place], rng)
        elif ids[place] not in mentioned:
            continue
        elif rng.random() >= 0.8:
            masked[place] = treatment.mask if rng.random() < 0.5 else treatment.drawn(rng)
        labels[place] = ids[place]
    return masked, dict(sorted(labels.items()))


def _masked_nodes(context: ObjectiveContext) -> MaskedNodes:
    specials = context.specials
    counts, num_relations = context.offered(WORD_GRAPHS)
    return MaskedNodes(
        released_masking(specials.mask_id, context.vocab_size, specials.never_masked),
        released_masking(MASK, len(counts), range(len(SPECIALS))),
        released_masking(MASK, num_relations, range(len(SPECIALS))),
        frequencies(counts),
        **context.arguments,
    )


MASKED_NODES = ObjectiveSpec(
    MaskedNodes.name,
    "Sun et al. 2020, CoLAKE, COLING, section 3.3",
    _masked_nodes,
    needs=(WORD_GRAPHS,),
)
