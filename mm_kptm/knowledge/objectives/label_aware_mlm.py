"""Label-aware masked language modelling: predict words, part of speech and polarity together (Ke et al. 2020).

The grade of a text is either an input (early fusion) or predicted (late supervision).

Shapes: T token rows, P masked rows, L texts whose grade is predicted, B texts, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.sentiwordnet import NEUTRAL, OTHER, UNGRADED, UNKNOWN
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Masking, MaskingDraws
from mm_kptm.systems.system import System

NOT_SOUGHT = -1  #: label of what is not predicted
TAGGED_WORDS = "words tagged with part of speech and polarity"  #: arguments of :class:`LabelAwareWords`


@dataclass(frozen=True)
class RowRates:
    """Masking policy with a probability per row."""

    rates: Tensor  #: [T]

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may & (draws < self.rates)


@dataclass(frozen=True, eq=False)
class LabelAwareBatch(Movable):
    """Texts with masked words and all their labels; -1 where a row has no label."""

    inputs: Inputs
    rows: Tensor  #: [P]
    words: Tensor  #: [P]
    parts: Tensor  #: [P]
    polarities: Tensor  #: [P]
    sequence_ids: Tensor  #: text of each row, [P]
    firsts: Tensor  #: first rows of the texts whose grade is predicted, [L]
    grades: Tensor  #: [L]
    graded: Tensor  #: these texts, [L]

    def __len__(self) -> int:
        return len(self.inputs)


class LabelAwareWords:
    """Mask words, polar ones more often; predict the word, its part of speech and polarity, and the text's grade.

    Args:
        masking: mask token, pool and special tokens; its policy is replaced by the rates, and the tokens of a word
            are treated alike.
        polar: share of the words with a polarity that are masked.
        others: share of the other words that are masked.
        late: share of the texts whose grade is predicted instead of an input.
    """

    name = "label-aware-words"
    heads = ("masked-tokens", "part-of-speech", "word-polarity", "grade")

    def __init__(self, masking: Masking, *, polar: float = 0.3, others: float = 0.15, late: float = 0.2) -> None:
        self.masking = masking
        self.polar = polar
        self.others = others
        self.late = late

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> LabelAwareBatch:
        """Mask words together with their labels.

        Raises:
            UserError: there is no text, or its words have no labels.
        """
        text = inputs.text
        if text is None or text.token_labels is None or not UNKNOWN.keys() <= text.token_labels.keys():
            raise UserError(
                f"label-aware-words masks words with labels {', '.join(UNKNOWN)}, but the text has none; add them as "
                "mm_kptm.knowledge.lexicons.sentiwordnet.felt_tokens does"
            )
        part, polarity, grade = (text.token_labels[name] for name in UNKNOWN)
        units = torch.arange(len(text.ids)) if text.mask_groups is None else text.mask_groups
        draws = MaskingDraws.fresh(units, generator).per_group(units)
        late = torch.rand(len(text.layout), generator=generator) < self.late
        rates = torch.where(polarity == NEUTRAL, self.others, self.polar)
        masking = replace(self.masking, policy=RowRates(rates))
        masked, rows = masking.mask(text, generator, draws=draws)
        # a word that is kept keeps its labels
        replaced = torch.zeros_like(text.ids, dtype=torch.bool).index_fill(0, rows, True)
        replaced &= draws.treat < masking.mask_share + masking.random_share
        sequence_ids = text.layout.sequence_ids(rows.device)
        labels = {
            "part": part.masked_fill(replaced, OTHER),
            "polarity": polarity.masked_fill(replaced, NEUTRAL),
            "grade": grade.masked_fill(late[sequence_ids], UNGRADED),
        }
        of_text = torch.full_like(late, UNGRADED, dtype=torch.long).scatter_reduce(0, sequence_ids, grade, "amin")
        graded = (late & (of_text != UNGRADED)).nonzero().squeeze(1)
        plain = (polarity[rows] == NEUTRAL) & (part[rows] == OTHER)
        return LabelAwareBatch(
            inputs=inputs.with_streams(text=replace(masked, token_labels=labels)),
            rows=rows,
            words=text.ids[rows],
            parts=part[rows].masked_fill(plain, NOT_SOUGHT),
            polarities=polarity[rows].masked_fill(plain, NOT_SOUGHT),
            sequence_ids=sequence_ids[rows],
            firsts=text.layout.starts(rows.device)[graded],
            grades=of_text[graded],
            graded=graded,
        )

    def losses(self, system: System, batch: LabelAwareBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Cross-entropies of all predictions and the text of each, by head."""
        output_rows = torch.cat([batch.rows, batch.firsts])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": output_rows}, pooled=False))
        masked, firsts = encoded.text.split([len(batch.rows), len(batch.firsts)])
        predictions = zip(
            self.heads,
            (masked, masked, masked, firsts),
            (batch.words, batch.parts, batch.polarities, batch.grades),
            (batch.sequence_ids, batch.sequence_ids, batch.sequence_ids, batch.graded),
            strict=True,
        )
        losses = {}
        for name, states, labels, sequence_ids in predictions:
            kept = labels != NOT_SOUGHT
            scores = system.head(name)(states[kept])
            losses[name] = F.cross_entropy(scores, labels[kept], reduction="none"), sequence_ids[kept]
        return losses

    def loss(self, system: System, batch: LabelAwareBatch) -> Tensor:
        """Sum of the mean losses of words, parts of speech, polarities and grades; an empty kind adds nothing."""
        return torch.stack([mean(losses) for losses, _ in self.losses(system, batch).values()]).sum()

    def measure(self, system: System, batch: LabelAwareBatch) -> Tensor:
        """The same sum for each text, [B]; the batch's mean where a text has none of a kind."""
        losses_by_head = self.losses(system, batch).values()
        each = [mean_of_each(losses, sequence_ids, len(batch)) for losses, sequence_ids in losses_by_head]
        return torch.stack(each).sum(0)


def _label_aware_words(context: ObjectiveContext) -> LabelAwareWords:
    specials = context.specials
    masking = Masking(specials.mask_id, (0, context.vocab_size), specials.never_masked)
    return LabelAwareWords(masking, others=context.mask_rate, **context.offered(TAGGED_WORDS))


LABEL_AWARE_WORDS = ObjectiveSpec(
    LabelAwareWords.name,
    "Ke et al. 2020, SentiLARE, EMNLP, section 3.3",
    _label_aware_words,
    needs=(TAGGED_WORDS,),
)
