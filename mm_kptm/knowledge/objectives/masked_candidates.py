"""Masked language modelling with candidates: the candidates of masked words are masked too (Peters et al. 2019, 3.4).

Otherwise the candidates of a mention would reveal the masked words.

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
    """Masking of candidates: treatment of a span's candidates for every masked token in it, one token after the other.

    Args:
        mask_share: probability that the entity ``@@MASK@@`` replaces them.
        random_share: probability that random entities of the same text replace them, with random priors.
        most: maximum number of random entities.
    """

    mask_share: float = 0.8
    random_share: float = 0.1
    most: int = 5

    def mask(self, candidates: Candidates, hidden: torch.Tensor, generator: torch.Generator) -> Candidates:
        """Mask the candidates of spans that contain the masked token rows ``hidden``."""
        entities, priors = candidates.entities.clone(), candidates.priors.clone()
        first, last = candidates.spans[:, :1], candidates.spans[:, 1:]
        touched = ((first <= hidden) & (hidden <= last)).sum(1)
        sequence_ids = candidates.layout.sequence_ids(hidden.device)
        for span in touched.nonzero().flatten().tolist():
            for chance in torch.rand(int(touched[span]), generator=generator).tolist():
                if chance < self.mask_share:
                    replacements = torch.tensor([MASK])
                elif chance < self.mask_share + self.random_share:
                    replacements = self._others(candidates, sequence_ids == sequence_ids[span], span, generator)
                else:
                    continue
                if len(replacements):
                    entities[span], priors[span] = PADDING, 0.0
                    entities[span, : len(replacements)] = replacements
                    weights = torch.rand(len(replacements), generator=generator) + 1e-6
                    priors[span, : len(replacements)] = weights / weights.sum()
        return replace(candidates, entities=entities, priors=priors)

    def _others(
        self, candidates: Candidates, same_text: torch.Tensor, span: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Random entities of the other spans of a text, in random order; none if there are no other spans."""
        beside = same_text.clone()
        beside[span] = False
        known = candidates.entities[beside].unique()
        known = known[known > NULL]
        limit = min(self.most, len(known), candidates.entities.shape[1])
        count = int(torch.randint(1, limit + 1, (), generator=generator)) if limit else 0
        return known[torch.randperm(len(known), generator=generator)[:count]]


class MaskedTokensAndCandidates(MaskedTokens):
    """Predict masked tokens from a text whose candidates are masked, too."""

    def __init__(self, masking: Masking, hiding: CandidateHiding | None = None) -> None:
        super().__init__(masking)
        self.hiding = CandidateHiding() if hiding is None else hiding

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Mask some tokens, and the candidates of their mentions in every knowledge base.

        Raises:
            UserError: there is no text.
        """
        batch = super().prepare(inputs, generator)
        given = inputs.candidates or {}
        masked = {name: self.hiding.mask(given[name], batch.rows, generator) for name in sorted(given)}
        return replace(batch, inputs=replace(batch.inputs, candidates=masked or inputs.candidates))
