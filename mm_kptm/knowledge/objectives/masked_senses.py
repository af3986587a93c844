"""What a hidden word is, and what kind of thing it means, predicted together (Levine et al. 2020, section 3).

Shapes: T token rows, P hidden rows, V vocabulary, S supersenses, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.supersenses import SenseVocabulary
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import ExactCount, MaskedText, Masking, MaskingDraws, mean, mean_of_each
from mm_kptm.systems.system import System

WORD_SENSES = "supersenses of words"  #: what data offer as a :class:`SenseVocabulary`


def sense_losses(scores: Tensor, allowed: Tensor) -> Tensor:
    r"""How far scores [P, S] are from what words may mean [P, S], [P]; a word that means nothing has no loss.

    The sum of two terms (section 3.2, eqs. 4 and 6): some allowed sense is likely, and all of them alike.

    .. math:: -\log \sum_{s \in A} p(s) - \frac{1}{|A|} \sum_{s \in A} \log p(s)
    """
    logs = scores.log_softmax(-1)
    some = logs.masked_fill(~allowed, float("-inf")).logsumexp(-1)
    alike = (logs * allowed).sum(-1) / allowed.sum(-1).clamp(min=1)
    return torch.where(allowed.any(-1), -some - alike, scores.new_zeros(()))


@dataclass(frozen=True, eq=False)
class MaskedSense(MaskedText):
    """A text with hidden tokens, what stood there, and what that may have meant."""

    allowed: Tensor  #: [P, S]


class MaskedSenses:
    """Hide words, those of one meaning first; find the word and its supersense at every hidden row.

    Args:
        masking: mask token, pool and what is never hidden; the choice is the paper's, whatever it says.
        senses: of the vocabulary.
        rate: share of a sequence that is hidden.
        singles: share of the words of a sequence with one supersense that are chosen first (section 3.5).
        most: share of what is hidden that they may take.
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
        """Hide some tokens of the inputs.

        Raises:
            UserError: there is no text to hide, or an id that the vocabulary of senses does not have.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-senses hides text, but the inputs have none")
        if len(text.ids) and (last := int(text.ids.max())) >= len(self.senses.allowed):
            raise UserError(f"the text has the id {last}, but senses are known of {len(self.senses.allowed)} pieces")
        allowed = self.senses.of_words(text)
        units = torch.arange(len(text.ids)) if text.mask_groups is None else text.mask_groups
        draws = MaskingDraws.fresh(units, generator)
        # fresh numbers lie above 0: a row with a lower one is among the first that an exact count takes
        chosen = draws.choose.index_fill(0, self._favoured(text, allowed, generator), -1.0)
        hidden, rows = self.masking.mask(text, generator, draws=replace(draws, choose=chosen))
        owners = text.layout.sequence_ids(rows.device)[rows]
        return MaskedSense(inputs.with_streams(text=hidden), rows, text.ids[rows], owners, allowed[rows])

    def _favoured(self, text: Tokens, allowed: Tensor, generator: torch.Generator) -> Tensor:
        """Rows of words with one supersense that are hidden before others."""
        single = allowed.sum(-1) == 1
        order = torch.rand(len(single), generator=generator)
        found = []
        for first, length in zip(text.layout.offsets, text.layout.lengths, strict=False):
            rows = first + single[first : first + length].nonzero().squeeze(1)
            count = min(round(self.singles * len(rows)), int(self.most * max(1, round(self.rate * length))))
            found.append(rows[order[rows].argsort()[:count]])
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.long)

    def losses(self, system: System, batch: MaskedSense) -> tuple[Tensor, Tensor]:
        """The cross-entropy of every hidden word [P], and how far what it means is from what it may mean [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        words, senses = (system.head(name)(encoded.text) for name in self.heads)
        return F.cross_entropy(words, batch.labels, reduction="none"), sense_losses(senses, batch.allowed)

    def loss(self, system: System, batch: MaskedSense) -> Tensor:
        """The mean over hidden words, and the mean over those of them that mean something, added."""
        words, senses = self.losses(system, batch)
        return mean(words) + mean(senses[batch.allowed.any(-1)])

    def measure(self, system: System, batch: MaskedSense) -> Tensor:
        """The same sum for each example, [B]; the batch's mean where an example hides nothing of a kind."""
        words, senses = self.losses(system, batch)
        some, size = batch.allowed.any(-1), len(batch)
        return mean_of_each(words, batch.owners, size) + mean_of_each(senses[some], batch.owners[some], size)


def _masked_senses(context: ObjectiveContext) -> MaskedSenses:
    masking = Masking(context.specials.mask, (0, context.vocab_size), context.specials.never_hidden)
    return MaskedSenses(masking, context.offered(WORD_SENSES), rate=context.mask_rate)


MASKED_SENSES = ObjectiveSpec(
    MaskedSenses.name,
    "Levine et al. 2020, SenseBERT, ACL, section 3",
    _masked_senses,
    needs=(TEXTS, WORD_SENSES),
)
