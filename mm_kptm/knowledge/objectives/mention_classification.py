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
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.ragged import masked_self_attention_layout
from mm_kptm.objectives.tokens import mean, mean_of_each
from mm_kptm.systems.system import System


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
    """Name the one relation between two marked mentions, with the system's head of that name."""

    name = "marked-relation"

    def losses(self, system: System, batch: Marked) -> Tensor:
        """The cross-entropy of every example, [B]."""
        return F.cross_entropy(marked_scores(system, self.name, batch), batch.truth, reduction="none")

    def loss(self, system: System, batch: Marked) -> Tensor:
        """The mean over examples."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: Marked) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, batch)


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
