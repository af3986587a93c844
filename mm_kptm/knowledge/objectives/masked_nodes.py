"""Masked words, entities and relations of word-knowledge graphs, found by one encoder (Sun et al. 2020, section 3.3).

Shapes: T nodes, P hidden nodes of a kind, K candidates, B graphs.
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
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import ExactCount, Masking, mean, mean_of_each
from mm_kptm.systems.system import System

#: What data offer as how often each entity occurs (special ones never), [entities], and the number of relations.
WORD_GRAPHS = "word-knowledge graphs"
HEADS = ("masked-tokens", "masked-entities", "masked-relations")  #: of the kinds, in their order


@dataclass(frozen=True, eq=False)
class Sought(Movable):
    """Hidden nodes of one kind."""

    rows: Tensor  #: [P]
    labels: Tensor  #: of words and relations their ids, of entities their places among the candidates, [P]
    owners: Tensor  #: the graph of each, [P]


@dataclass(frozen=True, eq=False)
class HiddenNodes(Movable):
    """Graphs with hidden nodes, what stood there, and the entities that it may have been."""

    inputs: Inputs
    words: Sought
    entities: Sought
    relations: Sought
    candidates: Tensor  #: entities, [K]

    def __len__(self) -> int:
        return len(self.inputs)


def released_masking(mask_id: int, count: int, never: Collection[int]) -> Masking:
    """15 % of a kind's nodes, one at least and 15 at most, as published.

    Args:
        mask_id: of the mask among the kind's ids.
        count: the kind's ids are 0 to ``count - 1``, and any may stand for a hidden one.
        never: ids that are never hidden.
    """
    return Masking(mask_id, (0, count), frozenset(never), policy=ExactCount(at_most=15))


class MaskedNodes:
    """Hide nodes of every kind and find them again; entities among those of the batch and some drawn ones.

    Where the quota of entities is full, those that the text mentions are sought as well, most of them in plain sight:
    so every mention trains its entity.

    Args:
        words, entities, relations: how nodes of each kind are hidden.
        weights: how likely each entity is drawn as a negative; :func:`frequencies` of their counts.
        num_negatives: entities drawn for each one that is sought; drawn twice or sought, an entity counts once.
        shown: share of mentions beyond the quota that stay; half of the others are masked, half swapped.
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
        """The graphs with some nodes of every kind hidden.

        Raises:
            UserError: there is no text, or nodes of another kind.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-nodes hides nodes of word-knowledge graphs, but the inputs have no text")
        if len(text.segments) and not 0 <= int(text.segments.min()) <= int(text.segments.max()) <= RELATION:
            raise UserError("masked-nodes reads kinds (0 word, 1 entity, 2 relation) as segments, but there are others")
        ids, sought = text.ids, []
        owners = text.layout.sequence_ids(ids.device)
        for kind, masking in enumerate(self.maskings):
            rows = (text.segments == kind).nonzero().squeeze(1)
            lengths = owners[rows].bincount(minlength=len(text.layout))
            block = Tokens(
                text.ids[rows], SequenceLayout(tuple(lengths.tolist())), text.positions[rows], text.segments[rows]
            )
            hidden, chosen = masking.mask(block, generator)
            given = hidden.ids
            if kind == ENTITY:
                given, chosen = self._mentions(block, given, chosen, _mentioned(text)[rows], generator)
            ids = ids.index_copy(0, rows, given)
            sought.append(Sought(rows[chosen], text.ids[rows[chosen]], owners[rows[chosen]]))
        words, entities, relations = sought
        candidates = self.candidates(entities.labels, generator)
        found = replace(entities, labels=places_among(entities.labels, candidates))
        return HiddenNodes(inputs.with_streams(text=replace(text, ids=ids)), words, found, relations, candidates)

    def _mentions(
        self, block: Tokens, given: Tensor, chosen: Tensor, mentioned: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Seek the mentions that were not hidden as well."""
        masking = self.maskings[ENTITY]
        half = (1 - self.shown) / 2
        others = mentioned.index_fill(0, chosen, False)
        rest = replace(masking, policy=_All(), mask_share=half, random_share=half)
        units = torch.where(others, torch.arange(len(others)), NO_GROUP)
        hidden, more = rest.mask(replace(block, ids=given), generator, groups=units)
        return hidden.ids, torch.cat([chosen, more]).sort().values

    def candidates(self, sought: Tensor, generator: torch.Generator) -> Tensor:
        """The entities that are sought, in the order of the batch, then drawn ones, each once."""
        if not len(sought):
            return sought.new_ones(1)  # one entity to score keeps shapes what they are
        count = self.num_negatives * len(dict.fromkeys(sought.tolist()))
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator) if count else sought[:0]
        return torch.tensor(list(dict.fromkeys([*sought.tolist(), *drawn.tolist()])))

    def losses(self, system: System, batch: HiddenNodes) -> dict[str, Tensor]:
        """The cross-entropies of all hidden nodes by the head that scored them, [P] each."""
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
        """The sum of the mean over words, the mean over entities and the mean over relations.

        A kind of which nothing is hidden adds nothing, where the released code becomes NaN.
        """
        return torch.stack([mean(losses) for losses in self.losses(system, batch).values()]).sum()

    def measure(self, system: System, batch: HiddenNodes) -> Tensor:
        """The same sum for each graph, [B]; a kind's mean over the batch where a graph hides none of it."""
        losses = self.losses(system, batch).values()
        parts = (batch.words, batch.entities, batch.relations)
        each = [mean_of_each(own, part.owners, len(batch)) for own, part in zip(losses, parts, strict=True)]
        return torch.stack(each).sum(0)


@dataclass(frozen=True)
class _All:
    """Everything that may be hidden."""

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may


def _mentioned(text: Tokens) -> Tensor:
    """Which nodes are of the text itself, [T]."""
    return (
        text.attention_mask.trunk
        if isinstance(text.attention_mask, LinkMask)
        else torch.ones_like(text.ids, dtype=torch.bool)
    )


def places_among(entities: Tensor, candidates: Tensor) -> Tensor:
    """Where each entity stands among the candidates, [P]."""
    places = {entity: place for place, entity in enumerate(candidates.tolist())}
    return torch.tensor([places[entity] for entity in entities.tolist()], dtype=torch.long)


def frequencies(counts: Tensor, power: float = 0.75) -> Tensor:
    """How likely each entity is drawn, from how often it occurs (Mikolov et al. 2013's unigram distribution)."""
    shares = (counts.double() / counts.sum()) ** power
    return (shares / shares.sum()).float()


def hide_nodes(
    ids: Sequence[int],
    treatment: Treatment[int],
    rng: random.Random,
    *,
    never: Collection[int],
    mentioned: Collection[int] = (),
) -> tuple[list[int], dict[int, int]]:
    """The released script's masks of one kind, value by value from the same generator.

    The script makes that generator anew, ``random.Random(2020)``, for every kind of every graph: its masks follow from
    the number of nodes alone, and so are the same in every epoch.

    Args:
        ids: of the nodes of one kind.
        treatment: what stands for a hidden node.
        rng: the generator of the draws.
        never: ids that are never hidden.
        mentioned: ids of entities that the text mentions; all of them are sought.

    Returns:
        The ids with some hidden, and what stood at each place that is sought, in order.
    """
    hidden, stood = list(ids), {}
    count = budget(len(ids), rate=0.15, at_most=15)
    order = shuffled([NO_GROUP if node in never else place for place, node in enumerate(ids)], rng)
    for number, (place,) in enumerate(order):
        if number < count:
            hidden[place] = treatment(ids[place], rng)
        elif ids[place] not in mentioned:
            continue
        elif rng.random() >= 0.8:
            hidden[place] = treatment.mask if rng.random() < 0.5 else treatment.drawn(rng)
        stood[place] = ids[place]
    return hidden, dict(sorted(stood.items()))


def _masked_nodes(context: ObjectiveContext) -> MaskedNodes:
    specials = context.specials
    counts, num_relations = context.offered(WORD_GRAPHS)
    return MaskedNodes(
        released_masking(specials.mask, context.vocab_size, specials.never_hidden),
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
