"""Entity linking objective: predict each mention's entity among its candidates (Peters et al. 2019).

Shapes: P scored candidates or spans, B texts.
"""

from __future__ import annotations

from torch import Tensor

from mm_kptm.adaptation.layer_stack import text_stack
from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.entity_disambiguation import gold
from mm_kptm.knowledge.fusion.kar import Linker, RecontextualisedStream, Recontextualiser
from mm_kptm.nn.submodules import submodule
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.systems.system import System


class EntityLinking:
    """Link the mentions of a batch to one knowledge base, with the loss of its decision rule (section 3.2).

    Args:
        base: name of the knowledge base.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.name = f"entity-linking-{base}"

    def prepare(self, inputs: Inputs, generator: object = None) -> Inputs:
        """Return the inputs: their candidates have the gold entities.

        Raises:
            UserError: they have no candidates for the knowledge base, or no gold entities.
        """
        candidates = (inputs.candidates or {}).get(self.base)
        if candidates is None:
            raise UserError(f"mentions are to be linked to {self.base}, but the inputs have no candidates for it")
        gold(candidates)
        return inputs

    def losses(self, system: System, batch: Inputs) -> tuple[Tensor, Tensor]:
        """Losses of all scored items, [P], and the text of each, [P]."""
        encoder = _recontextualised(system)
        linked = encoder.link(batch, self.base)
        linker = submodule(encoder, f"kars.{self.base}.linker", Linker)
        losses, spans = linker.decision.losses(linked.scores, linked.candidates)
        return losses, linked.candidates.layout.sequence_ids(spans.device)[spans]

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """Mean over candidates (margin rule) or spans (softmax rule)."""
        losses, _ = self.losses(system, batch)
        return mean(losses)

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """Mean over the scored items of each text, [B]; the batch's mean where there is none."""
        losses, sequence_ids = self.losses(system, batch)
        return mean_of_each(losses, sequence_ids, len(batch))


def _recontextualised(system: System) -> RecontextualisedStream:
    encoder = text_stack(getattr(system, "encoder", system))
    if not isinstance(encoder, RecontextualisedStream):
        raise UserError("entity linking trains the linker of a knowledge base, but this system has none")
    return encoder


def linker_only(system: System) -> None:
    """Train only the entity linkers, the first stage of the published training (section 3.4).

    The encoder, the entity tables, and the KARs' projections back to the encoder stay frozen.
    """
    encoder = _recontextualised(system)
    frozen = {name for name, part in encoder.named_parameters() if not part.requires_grad}
    system.requires_grad_(False)
    for base, kar in encoder.kars.items():
        assert isinstance(kar, Recontextualiser)
        for name, part in kar.linker.named_parameters():
            part.requires_grad_(f"kars.{base}.linker.{name}" not in frozen)
