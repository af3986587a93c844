"""Entity linking as an objective: name the entity that each mention means, among its candidates (Peters et al. 2019).

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
from mm_kptm.objectives.tokens import mean, mean_of_each
from mm_kptm.systems.system import System


class EntityLinking:
    """Link the mentions of a batch to one knowledge base; its decision says how candidates are scored (section 3.2).

    Args:
        base: name of the knowledge base.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.name = f"entity-linking-{base}"

    def prepare(self, inputs: Inputs, generator: object = None) -> Inputs:
        """The inputs as they are: their candidates say which entities are meant.

        Raises:
            UserError: they do not.
        """
        candidates = (inputs.candidates or {}).get(self.base)
        if candidates is None:
            raise UserError(f"mentions are to be linked to {self.base}, but the inputs have no candidates for it")
        gold(candidates)
        return inputs

    def losses(self, system: System, batch: Inputs) -> tuple[Tensor, Tensor]:
        """The loss of everything that is scored, [P], and the text that each belongs to, [P]."""
        encoder = _recontextualised(system)
        linked = encoder.link(batch, self.base)
        linker = submodule(encoder, f"kars.{self.base}.linker", Linker)
        losses, spans = linker.decision.losses(linked.scores, linked.candidates)
        return losses, linked.candidates.layout.sequence_ids(spans.device)[spans]

    def loss(self, system: System, batch: Inputs) -> Tensor:
        """The mean over candidates (by a margin) or spans (by a softmax)."""
        losses, _ = self.losses(system, batch)
        return mean(losses)

    def measure(self, system: System, batch: Inputs) -> Tensor:
        """The mean over what is scored in each text, [B]; the batch's mean where nothing is."""
        losses, owners = self.losses(system, batch)
        return mean_of_each(losses, owners, len(batch))


def _recontextualised(system: System) -> RecontextualisedStream:
    encoder = text_stack(getattr(system, "encoder", system))
    if not isinstance(encoder, RecontextualisedStream):
        raise UserError("mentions are linked by knowledge bases, but none speaks to this system")
    return encoder


def linker_only(system: System) -> None:
    """Train what links and nothing else: the first stage of the published training (section 3.4).

    The encoder, the tables, and the way back from the entities to the encoder stay as they are.
    """
    encoder = _recontextualised(system)
    frozen = {name for name, part in encoder.named_parameters() if not part.requires_grad}
    system.requires_grad_(False)
    for base, kar in encoder.kars.items():
        assert isinstance(kar, Recontextualiser)
        for name, part in kar.linker.named_parameters():
            part.requires_grad_(f"kars.{base}.linker.{name}" not in frozen)
