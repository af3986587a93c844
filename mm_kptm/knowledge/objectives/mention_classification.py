"""Supervised objectives on marked texts: relations and types of mentions, governors of tokens, senses of words.

The marks are ordinary tokens that stand in the text (``@`` and ``#`` for K-Adapter, Wang et al. 2021, sections 3.3 and
4; made-up words for KEPLER); a head reads the states at them.

Shapes: T token rows, B examples, M marks of an example, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, Movable, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.marker_tokens import marked_rows
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.ragged import masked_self_attention_layout
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.objectives.tokens import mean, mean_of_each
from mm_kptm.systems.system import System

MARKED_PAIRS = "texts with two marked mentions and their relation"  #: what data offer as the names of the relations
DEPENDENCY_TREES = "dependency trees of texts"


@dataclass(frozen=True, eq=False)
class Marked(Movable):
    """Texts, the rows of their marks, and what is true of what is marked."""

    inputs: Inputs
    marks: Tensor  #: token rows of the batch, [B, M]
    truth: Tensor  #: classes [B] of which one holds, or 1 for every one that does, [B, C]

    def __len__(self) -> int:
        return len(self.marks)


def marked_states(system: System, inputs: Inputs, marks: Tensor) -> Tensor:
    """The states at the marks [B, M] of every example, side by side: [B, M D]."""
    encoded: Encoded = system(inputs, OutputRows({"text": marks.flatten()}, pooled=False))
    return encoded.text.unflatten(0, marks.shape).flatten(1)


def marked_scores(system: System, name: str, batch: Marked) -> Tensor:
    """What the head ``name`` makes of the states at the marks of an example, side by side: [B, C]."""
    scores: Tensor = system.head(name)(marked_states(system, batch.inputs, batch.marks))
    return scores


class MarkedRelation:
    """Name the one relation between two marked mentions, with the system's head of that name.

    Args:
        num_classes: relations, where data say how many there are.
    """

    name = "marked-relation"

    def __init__(self, num_classes: int | None = None) -> None:
        self.sizes = {} if num_classes is None else {"num_classes": num_classes}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Marked:
        """Where the marks are and which relation holds; nothing is drawn.

        Raises:
            UserError: mentions are not marked, or the relation is not.
        """
        text = required_text(inputs)
        labels = _labels(inputs, self.name)
        return Marked(inputs, marked_rows(inputs, 2), labels[text.layout.starts(labels.device)])

    def losses(self, system: System, batch: Marked) -> Tensor:
        """The cross-entropy of every example, [B]."""
        return F.cross_entropy(marked_scores(system, self.name, batch), batch.truth, reduction="none")

    def loss(self, system: System, batch: Marked) -> Tensor:
        """The mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, batch)


def _labels(inputs: Inputs, name: str) -> Tensor:
    """What the text marks for an objective, [T]."""
    labels = required_text(inputs).token_labels
    if labels is None or name not in labels:
        raise UserError(f"{name} reads marks of {name}, but the inputs have none")
    return labels[name]


class MarkedTyping:
    """Say of every type whether it holds for a marked mention, with the system's head of that name."""

    name = "marked-typing"

    def losses(self, system: System, batch: Marked) -> Tensor:
        """Binary cross-entropy, averaged over types, [B]."""
        scores = marked_scores(system, self.name, batch)
        return F.binary_cross_entropy_with_logits(scores, batch.truth.to(scores.dtype), reduction="none").mean(1)

    def loss(self, system: System, batch: Marked) -> Tensor:
        """The mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, batch)


class WordInContext:
    """Tell whether a word that is marked in two sentences has one sense, with the system's head of that name.

    The head reads the pooled state and those at both marks (Peters et al. 2019, section 4.3).
    """

    name = "word-in-context"

    def scores(self, system: System, batch: Marked) -> Tensor:
        """What the head makes of an example, [B, C]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.marks.flatten()}))
        states = encoded.text.unflatten(0, batch.marks.shape).flatten(1)
        scores: Tensor = system.head(self.name)(torch.cat([encoded.pooled, states], dim=-1))
        return scores

    def losses(self, system: System, batch: Marked) -> Tensor:
        """The cross-entropy of every example, [B]."""
        return F.cross_entropy(self.scores(system, batch), batch.truth, reduction="none")

    def loss(self, system: System, batch: Marked) -> Tensor:
        """The mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, batch)


@dataclass(frozen=True, eq=False)
class Governed(Movable):
    """Texts, and for some of their tokens the place of the one that governs it."""

    inputs: Inputs
    rows: Tensor  #: token rows of the batch, [T]
    places: Tensor  #: within the text, [T]

    def __len__(self) -> int:
        return len(self.inputs)


class DependencyHead:
    """Find the governor of every token, with the system's head ``dependency-heads`` (section 3.4)."""

    name = "dependency-heads"

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Governed:
        """The governed tokens, where it is marked that the governor stands within the text; nothing is drawn.

        Raises:
            UserError: governors are not marked.
        """
        places = _labels(inputs, self.name)
        rows = (places >= 0).nonzero().squeeze(1)
        return Governed(inputs, rows, places[rows])

    def losses(self, system: System, batch: Governed) -> Tensor:
        """The cross-entropy of every governed token, [T]."""
        text = required_text(batch.inputs)
        encoded: Encoded = system(batch.inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
        scores = system.head(self.name)(encoded.text, masked_self_attention_layout(text.layout, text.attention_mask))
        return F.cross_entropy(scores[batch.rows], batch.places, reduction="none")

    def loss(self, system: System, batch: Governed) -> Tensor:
        """The mean over all governed tokens of the batch."""
        return mean(self.losses(system, batch))

    def measure(self, system: System, batch: Governed) -> Tensor:
        """The mean over the governed tokens of each text, [B]."""
        owners = required_text(batch.inputs).layout.sequence_ids(batch.rows.device)[batch.rows]
        return mean_of_each(self.losses(system, batch), owners, len(batch))


MARKED_RELATION = ObjectiveSpec(
    MarkedRelation.name,
    "Wang et al. 2021, K-Adapter, Findings of ACL, section 3.3",
    lambda context: MarkedRelation(len(context.offered(MARKED_PAIRS))),
    needs=(MARKED_PAIRS,),
)
DEPENDENCY_HEADS = ObjectiveSpec(
    DependencyHead.name,
    "Wang et al. 2021, K-Adapter, Findings of ACL, section 3.4",
    lambda context: DependencyHead(),
    needs=(DEPENDENCY_TREES,),
)
