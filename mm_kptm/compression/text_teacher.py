"""Text teachers: any text encoder with weights, whose vectors of texts are computed once.

Shapes: N texts, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY
from mm_kptm.compression.teacher import centred, load_teacher
from mm_kptm.errors import UserError
from mm_kptm.systems.encoder import DualEncoder
from mm_kptm.systems.system import System


@dataclass(frozen=True)
class TextTeacher:
    """A text encoder that is not trained.

    Args:
        weights: a folder that :func:`mm_kptm.save` wrote, a run, or published weights, ``package:NAME`` included.
        recipe: of published weights; a folder of the suite and a package know their own.
        prefix: before every text, such as ``query: `` of E5.
    """

    weights: str
    recipe: str = ""
    prefix: str = ""

    def load(self) -> System:
        """The system with its weights and tokenizer, in evaluation mode.

        Raises:
            UserError: there are no such weights, they are published and no recipe is named, or no tokenizer is beside.
        """
        system = load_teacher(self.weights, self.recipe)
        if not system.has_tokenizer:
            raise UserError(f"the teacher {self.weights} has no tokenizer beside its weights, so it cannot read texts")
        return system

    @torch.no_grad()
    def vectors(
        self, texts: Sequence[str], *, batch_size: int = 64, device: torch.device | str | None = None
    ) -> Tensor:
        """Vectors of length 1, those of all texts centred first, [N, D].

        Raises:
            UserError: as :meth:`load`.
        """
        system = self.load().to(device)
        distinct = sorted({self.prefix + text for text in texts}, key=lambda text: (len(text), text))
        places = {text: place for place, text in enumerate(distinct)}
        parts = [distinct[first : first + batch_size] for first in range(0, len(distinct), batch_size)]
        found = torch.cat([_pooled(system, part) for part in parts]).float()
        return centred(found[torch.tensor([places[self.prefix + text] for text in texts], device=found.device)])


def _pooled(system: System, texts: Sequence[str]) -> Tensor:
    """The vector of every text: of the joint space of two towers, else the pooled one of the encoder."""
    if isinstance(system.encoder, DualEncoder):
        return system.encode_text(texts)
    inputs = system.tokenizer(texts).to(next(system.parameters()).device)
    return F.normalize(system(inputs, POOLED_ONLY).pooled, dim=-1)
