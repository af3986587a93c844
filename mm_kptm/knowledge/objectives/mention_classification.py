"""Supervised objectives on texts with mention markers: relations, entity types, dependency heads and word senses.

Markers are ordinary tokens of the text (``@`` and ``#`` for K-Adapter, Wang et al. 2021, sections 3.3 and 4; unused
words for KEPLER); a head reads the hidden states at them.

Shapes: T token rows, B examples, M markers of an example, C classes.
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
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveSpec
from mm_kptm.systems.system import System

MARKED_PAIRS = "texts with two marked mentions and their relation"  #: what a dataset offers: the names of the relations
DEPENDENCY_TREES = "dependency trees of texts"


@dataclass(frozen=True, eq=False)
class Marked(Movable):
    """Texts with marker rows and labels."""

    inputs: Inputs
    marks: Tensor  #: rows of the markers, [B, M]
    truth: Tensor  #: one class per example [B], or 0/1 for every class, [B, C]

    def __len__(self) -> int:
        return len(self.marks)


def marked_states(system: System, inputs: Inputs, marks: Tensor) -> Tensor:
    """Hidden states at the markers [B, M] of every example, concatenated: [B, M D]."""
    encoded: Encoded = system(inputs, OutputRows({"text": marks.flatten()}, pooled=False))
    return encoded.text.unflatten(0, marks.shape).flatten(1)


def marked_scores(system: System, name: str, batch: Marked) -> Tensor:
    """Scores of the head ``name`` on the concatenated marker states of an example, [B, C]."""
    scores: Tensor = system.head(name)(marked_states(system, batch.inputs, batch.marks))
    return scores


class MarkedRelation:
    """Classify the relation between two marked mentions, with the system's head of that name.

    Args:
        num_classes: number of relations, where the dataset gives it.
    """

    name = "marked-relation"

    def __init__(self, num_classes: int | None = None) -> None:
        self.sizes = {} if num_classes is None else {"num_classes": num_classes}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Marked:
        """Find the markers and labels; nothing is sampled.

        Raises:
            UserError: the text has no markers, or no relation label.
        """
        text = required_text(inputs)
        labels = _labels(inputs, self.name)
        return Marked(inputs, marked_rows(inputs, 2), labels[text.layout.starts(labels.device)])

    def losses(self, system: System, batch: Marked) -> Tensor:
        """Cross-entropy of every example, [B]."""
        return F.cross_entropy(marked_scores(system, self.name, batch), batch.truth, reduction="none")

    def loss(self, system: System, batch: Marked) -> Tensor:
        """Mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """Loss of each example, [B]."""
        return self.losses(system, batch)


def _labels(inputs: Inputs, name: str) -> Tensor:
    """Token labels of an objective, [T]."""
    labels = required_text(inputs).token_labels
    if labels is None or name not in labels:
        raise UserError(f"{name} reads marks of {name}, but the inputs have none")
    return labels[name]


class MarkedTyping:
    """Multi-label typing of a marked mention, with the system's head of that name."""

    name = "marked-typing"

    def losses(self, system: System, batch: Marked) -> Tensor:
        """Binary cross-entropy, averaged over types, [B]."""
        scores = marked_scores(system, self.name, batch)
        return F.binary_cross_entropy_with_logits(scores, batch.truth.to(scores.dtype), reduction="none").mean(1)

    def loss(self, system: System, batch: Marked) -> Tensor:
        """Mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """Loss of each example, [B]."""
        return self.losses(system, batch)


class WordInContext:
    """Classify whether a word marked in two sentences has the same sense, with the system's head of that name.

    The head reads the pooled state and the hidden states at both markers (Peters et al. 2019, section 4.3).
    """

    name = "word-in-context"

    def scores(self, system: System, batch: Marked) -> Tensor:
        """Scores of an example, [B, C]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.marks.flatten()}))
        states = encoded.text.unflatten(0, batch.marks.shape).flatten(1)
        scores: Tensor = system.head(self.name)(torch.cat([encoded.pooled, states], dim=-1))
        return scores

    def losses(self, system: System, batch: Marked) -> Tensor:
        """Cross-entropy of every example, [B]."""
        return F.cross_entropy(self.scores(system, batch), batch.truth, reduction="none")

    def loss(self, system: System, batch: Marked) -> Tensor:
        """Mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """Loss of each example, [B]."""
        return self.losses(system, batch)


@dataclass(frozen=True, eq=False)
class DependencyTargets(Movable):
    """Texts with the position of the dependency head of some tokens."""

    inputs: Inputs
    rows: Tensor  #: token rows of the batch, [T]
    places: Tensor  #: within the text, [T]

    def __len__(self) -> int:
        return len(self.inputs)


class DependencyHead:
    """Predict the dependency head of every token, with the system's head ``dependency-heads`` (section 3.4)."""

    name = "dependency-heads"

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> DependencyTargets:
        """Tokens whose dependency head is labelled within the text; nothing is sampled.

        Raises:
            UserError: dependency heads are not labelled.
        """
        positions = _labels(inputs, self.name)
        rows = (positions >= 0).nonzero().squeeze(1)
        return DependencyTargets(inputs, rows, positions[rows])

    def losses(self, system: System, batch: DependencyTargets) -> Tensor:
        """Cross-entropy of every labelled token, [T]."""
        text = required_text(batch.inputs)
        encoded: Encoded = system(batch.inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
        layout = masked_self_attention_layout(text.layout, text.attention_mask)
        scores = system.head(self.name)(encoded.text, layout)
        return F.cross_entropy(scores[batch.rows], batch.places, reduction="none")

    def loss(self, system: System, batch: DependencyTargets) -> Tensor:
        """Mean over all labelled tokens of the batch."""
        return mean(self.losses(system, batch))

    def measure(self, system: System, batch: DependencyTargets) -> Tensor:
        """Mean over the labelled tokens of each text, [B]."""
        sequence_ids = required_text(batch.inputs).layout.sequence_ids(batch.rows.device)[batch.rows]
        return mean_of_each(self.losses(system, batch), sequence_ids, len(batch))


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
