"""Text teachers: any text encoder with weights, whose vectors of texts are computed once.

Shapes: N texts, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import POOLED_ONLY
from mm_kptm.errors import UserError
from mm_kptm.systems import pretrained
from mm_kptm.systems.encoder import DualEncoder
from mm_kptm.systems.packaged.weights import is_package
from mm_kptm.systems.saved import in_run, is_saved
from mm_kptm.systems.system import System


@dataclass(frozen=True)
class TextTeacher:
    """A text encoder that is not trained.

    Args:
        weights: a folder that :func:`mm_kptm.save` wrote, a run, or published weights, ``package:NAME`` included.
        recipe: of published weights; a folder of the suite knows its own.
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
        path = Path(self.weights)
        where = in_run(path)
        if not is_package(path) and not where.exists():
            raise UserError(f"the teacher is {self.weights}, but there is no such file or folder")
        if is_saved(where):
            system = pretrained.load(str(where), seed=0)
        elif not self.recipe:
            raise UserError(f"the teacher {self.weights} holds published weights; name the recipe that reads them, too")
        else:
            system = pretrained.load(self.recipe, self.weights, heads=[], seed=0)
        if not system.has_tokenizer:
            raise UserError(f"the teacher {self.weights} has no tokenizer beside its weights, so it cannot read texts")
        return system.eval().requires_grad_(False)

    @torch.no_grad()
    def vectors(
        self, texts: Sequence[str], *, batch_size: int = 64, device: torch.device | str | None = None
    ) -> Tensor:
        """Vectors of length 1, those of all texts centred first, [N, D].

        Vectors of text encoders lie in a narrow cone (Ethayarajh 2019), so their cosines differ little until their mean
        is subtracted.

        Raises:
            UserError: as :meth:`load`.
        """
        system = self.load().to(device)
        distinct = sorted({self.prefix + text for text in texts}, key=lambda text: (len(text), text))
        places = {text: place for place, text in enumerate(distinct)}
        parts = [distinct[first : first + batch_size] for first in range(0, len(distinct), batch_size)]
        found = torch.cat([_pooled(system, part) for part in parts]).float()
        of_texts = found[torch.tensor([places[self.prefix + text] for text in texts], device=found.device)]
        return F.normalize(of_texts - of_texts.mean(dim=0), dim=-1)


def _pooled(system: System, texts: Sequence[str]) -> Tensor:
    """The vector of every text: of the joint space of two towers, else the pooled one of the encoder."""
    if isinstance(system.encoder, DualEncoder):
        return system.encode_text(texts)
    inputs = system.tokenizer(texts).to(next(system.parameters()).device)
    return F.normalize(system(inputs, POOLED_ONLY).pooled, dim=-1)
