"""Fact completion: adapters learn to predict the object of a fact (after Wang et al. 2021, K-Adapter).

The published factual adapter classifies the relation between two marked entities of a sentence (section 3.3), which
does not require knowing the right object. Here the object is predicted. As published, only adapters and head are
trained: the encoder gets no gradient.

Shapes: B facts, T token rows, D dim, O objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.adaptation.layer_stack import text_stack
from mm_kptm.adaptation.side_adapter import AdaptedStream
from mm_kptm.batch import Inputs, Movable, Tokens
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


class OpenFact(NamedTuple):
    """Token ids of a fact without its object, and the id of the object."""

    words: tuple[int, ...]
    object: int


@dataclass(frozen=True, eq=False)
class OpenFacts(Movable):
    """Batch of facts with a mask token in place of the object."""

    texts: Inputs
    blanks: Tensor  #: rows of the mask tokens, [B]
    objects: Tensor  #: [B]

    def __len__(self) -> int:
        return len(self.objects)


class FactCompletion:
    """Predict the object of a fact with the system's head of that name: hidden states [B, D] -> scores [B, O].

    Args:
        facts: training facts, sampled with replacement.
        specials: ids of the special tokens.

    Raises:
        UserError: there is no fact.
    """

    name = "fact-completion"

    def __init__(self, facts: Sequence[OpenFact], specials: Specials) -> None:
        if not facts:
            raise UserError("there is no fact to learn from")
        self.facts = tuple(facts)
        self.specials = specials

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> OpenFacts:
        """Sample as many facts as there are examples; the inputs are not used."""
        numbers = torch.randint(len(self.facts), (len(inputs),), generator=generator).tolist()
        special = self.specials
        chosen = sorted((self.facts[number] for number in numbers), key=lambda fact: len(fact.words))
        text = Tokens.of([framed(special, (*fact.words, special.mask_id))[0] for fact in chosen])
        ends = torch.tensor(text.layout.offsets[1:])
        return OpenFacts(Inputs(text=text), ends - 2, torch.tensor([fact.object for fact in chosen]))

    def losses(self, system: System, batch: OpenFacts) -> Tensor:
        """Cross-entropy of every object, [B].

        Raises:
            UserError: the system has no adapters.
        """
        encoder = text_stack(getattr(system, "encoder", system))
        if not isinstance(encoder, AdaptedStream):
            raise UserError(f"{self.name} trains adapters, but a {type(encoder).__name__} has none; put some beside it")
        states = encoder.beside(batch.texts)[batch.blanks]
        scores: Tensor = system.head(self.name)(states)
        return F.cross_entropy(scores, batch.objects, reduction="none")

    def loss(self, system: System, batch: OpenFacts) -> Tensor:
        """Mean loss over facts."""
        return self.losses(system, batch).mean()

    def measure(self, system: System, batch: OpenFacts) -> Tensor:
        """Loss of each fact, [B]."""
        return self.losses(system, batch)
