"""Masked tokens among candidates: what a hidden word may mean is hidden with it (Peters et al. 2019, section 3.4).

Otherwise the candidates of a mention would tell the words that are to be predicted.

Shapes: S spans, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mm_kptm.batch import Candidates, Inputs
from mm_kptm.batch.special_entities import MASK, NULL, PADDING
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, Masking


@dataclass(frozen=True)
class CandidateHiding:
    """What becomes of the candidates of a span for every hidden token in it, one token after the other.

    Args:
        mask_share: share of times that the one entity ``@@MASK@@`` takes their place.
        random_share: share of times that other entities of the same text do, with random priors; else nothing changes.
        most: how many others, at most.
    """

    mask_share: float = 0.8
    random_share: float = 0.1
    most: int = 5

    def hide(self, candidates: Candidates, hidden: torch.Tensor, generator: torch.Generator) -> Candidates:
        """A copy in which the spans that hold ``hidden`` token rows lost their candidates."""
        entities, priors = candidates.entities.clone(), candidates.priors.clone()
        first, last = candidates.spans[:, :1], candidates.spans[:, 1:]
        touched = ((first <= hidden) & (hidden <= last)).sum(1)
        owners = candidates.layout.sequence_ids(hidden.device)
        for span in touched.nonzero().flatten().tolist():
            for chance in torch.rand(int(touched[span]), generator=generator).tolist():
                if chance < self.mask_share:
                    taken = torch.tensor([MASK])
                elif chance < self.mask_share + self.random_share:
                    taken = self._others(candidates, owners == owners[span], span, generator)
                else:
                    continue
                if len(taken):
                    entities[span], priors[span] = PADDING, 0.0
                    entities[span, : len(taken)] = taken
                    shares = torch.rand(len(taken), generator=generator) + 1e-6
                    priors[span, : len(taken)] = shares / shares.sum()
        return replace(candidates, entities=entities, priors=priors)

    def _others(
        self, candidates: Candidates, same_text: torch.Tensor, span: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Some entities of the other spans of a text, in random order; none where it has no other."""
        beside = same_text.clone()
        beside[span] = False
        known = candidates.entities[beside].unique()
        known = known[known > NULL]
        room = min(self.most, len(known), candidates.entities.shape[1])
        count = int(torch.randint(1, room + 1, (), generator=generator)) if room else 0
        return known[torch.randperm(len(known), generator=generator)[:count]]


class MaskedTokensAndCandidates(MaskedTokens):
    """Predict hidden tokens from a text whose mentions of them are hidden, too."""

    def __init__(self, masking: Masking, hiding: CandidateHiding | None = None) -> None:
        super().__init__(masking)
        self.hiding = CandidateHiding() if hiding is None else hiding

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Hide some tokens, and what their mentions may mean in every knowledge base.

        Raises:
            UserError: there is no text to hide.
        """
        batch = super().prepare(inputs, generator)
        given = inputs.candidates or {}
        hidden = {name: self.hiding.hide(given[name], batch.rows, generator) for name in sorted(given)}
        return replace(batch, inputs=replace(batch.inputs, candidates=hidden or inputs.candidates))
