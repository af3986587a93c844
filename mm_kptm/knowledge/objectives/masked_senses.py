"""Masked words and supersenses, predicted together (Levine et al. 2020, SenseBERT, section 3).

Shapes: T token rows, P masked rows, V vocabulary, S supersenses, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.supersenses import SenseVocabulary
from mm_kptm.objectives.rows import RowTargets, mean, mean_of_each
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import ExactCount, Masking, MaskingDraws
from mm_kptm.systems.system import System

WORD_SENSES = "supersenses of words"  #: what a dataset offers: a :class:`SenseVocabulary`


def sense_losses(scores: Tensor, allowed: Tensor) -> Tensor:
    r"""Supersense loss of scores [P, S] given the allowed senses [P, S], [P]; 0 for a word without a sense.

    The sum of two terms (section 3.2, eqs. 4 and 6): an allowed sense is likely, and all allowed senses equally so.

    .. math:: -\log \sum_{s \in A} p(s) - \frac{1}{|A|} \sum_{s \in A} \log p(s)
    """
    logs = scores.log_softmax(-1)
    some = logs.masked_fill(~allowed, float("-inf")).logsumexp(-1)
    alike = (logs * allowed).sum(-1) / allowed.sum(-1).clamp(min=1)
    return torch.where(allowed.any(-1), -some - alike, scores.new_zeros(()))


@dataclass(frozen=True, eq=False)
class MaskedSense(RowTargets):
    """Text with masked tokens, their ids and their allowed supersenses."""

    allowed: Tensor  #: [P, S]


class MaskedSenses:
    """Mask words, single-sense ones first; predict the word and its supersense at every masked row.

    Args:
        masking: mask token, pool and special tokens; its policy is replaced by the paper's.
        senses: allowed senses of the vocabulary.
        rate: share of a sequence that is masked.
        singles: share of a sequence's single-supersense words that are chosen first (section 3.5).
        most: maximum share of the masked tokens that they may take.
    """

    name = "masked-senses"
    heads = ("masked-tokens", "supersenses")

    def __init__(
        self,
        masking: Masking,
        senses: SenseVocabulary,
        *,
        rate: float = 0.15,
        singles: float = 0.5,
        most: float = 0.4,
    ) -> None:
        self.masking = replace(masking, policy=ExactCount(rate))
        self.senses = senses
        self.rate = rate
        self.singles = singles
        self.most = most

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedSense:
        """Mask some tokens of the inputs.

        Raises:
            UserError: there is no text, or the sense vocabulary lacks a token id.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-senses hides text, but the inputs have none")
        if len(text.ids) and (last := int(text.ids.max())) >= len(self.senses.allowed):
            raise UserError(f"the text has the id {last}, but senses are known of {len(self.senses.allowed)} pieces")
        allowed = self.senses.of_words(text)
        units = torch.arange(len(text.ids)) if text.mask_groups is None else text.mask_groups
        draws = MaskingDraws.fresh(units, generator)
        # fresh draws are at least 0: a row with a negative one is among the first that an exact count takes
        chosen = draws.choose.index_fill(0, self._favoured(text, allowed, generator), -1.0)
        masked, rows = self.masking.mask(text, generator, draws=replace(draws, choose=chosen))
        sequence_ids = text.layout.sequence_ids(rows.device)[rows]
        return MaskedSense(inputs.with_streams(text=masked), rows, text.ids[rows], sequence_ids, allowed[rows])

    def _favoured(self, text: Tokens, allowed: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of single-supersense words that are masked before others."""
        single = allowed.sum(-1) == 1
        order = torch.rand(len(single), generator=generator)
        chosen = []
        for first, length in zip(text.layout.offsets, text.layout.lengths, strict=False):
            rows = first + single[first : first + length].nonzero().squeeze(1)
            count = min(round(self.singles * len(rows)), int(self.most * max(1, round(self.rate * length))))
            chosen.append(rows[order[rows].argsort()[:count]])
        return torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.long)

    def losses(self, system: System, batch: MaskedSense) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every masked word [P], and its supersense loss [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        words, senses = (system.head(name)(encoded.text) for name in self.heads)
        return F.cross_entropy(words, batch.labels, reduction="none"), sense_losses(senses, batch.allowed)

    def loss(self, system: System, batch: MaskedSense) -> Tensor:
        """Mean over masked words plus mean over those with a supersense."""
        words, senses = self.losses(system, batch)
        return mean(words) + mean(senses[batch.allowed.any(-1)])

    def measure(self, system: System, batch: MaskedSense) -> Tensor:
        """The same sum for each example, [B]; the batch's mean where an example has no such row."""
        words, senses = self.losses(system, batch)
        some, size = batch.allowed.any(-1), len(batch)
        return mean_of_each(words, batch.sequence_ids, size) + mean_of_each(
            senses[some], batch.sequence_ids[some], size
        )


def _masked_senses(context: ObjectiveContext) -> MaskedSenses:
    masking = Masking(context.specials.mask_id, (0, context.vocab_size), context.specials.never_masked)
    return MaskedSenses(masking, context.offered(WORD_SENSES), rate=context.mask_rate)


MASKED_SENSES = ObjectiveSpec(
    MaskedSenses.name,
    "Levine et al. 2020, SenseBERT, ACL, section 3",
    _masked_senses,
    needs=(TEXTS, WORD_SENSES),
)
