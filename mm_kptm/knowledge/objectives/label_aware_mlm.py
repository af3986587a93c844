"""Label-aware masked language model: words are found together with what they are and how they feel (Ke et al. 2020).

A text's grade is either given beside its words (early fusion) or to be found from them (late supervision).

Shapes: T token rows, P hidden rows, L texts whose grade is sought, B texts, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.sentiwordnet import NEUTRAL, OTHER, UNGRADED, UNKNOWN
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import Masking, MaskingDraws, mean, mean_of_each
from mm_kptm.systems.system import System

NOT_SOUGHT = -1  #: in place of a label
TAGGED_WORDS = "words tagged with part of speech and polarity"  #: what data offer as shares of :class:`LabelAwareWords`


@dataclass(frozen=True)
class RowRates:
    """Every row by itself, each with a probability of its own."""

    rates: Tensor  #: [T]

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may & (draws < self.rates)


@dataclass(frozen=True, eq=False)
class LabelAwareBatch(Movable):
    """Texts with hidden words, and all that is sought of them; what is not sought of a row is -1."""

    inputs: Inputs
    rows: Tensor  #: [P]
    words: Tensor  #: [P]
    parts: Tensor  #: [P]
    polarities: Tensor  #: [P]
    owners: Tensor  #: the text of each, [P]
    firsts: Tensor  #: first rows of the texts whose grade is sought, [L]
    grades: Tensor  #: [L]
    graded: Tensor  #: these texts, [L]

    def __len__(self) -> int:
        return len(self.inputs)


class LabelAwareWords:
    """Hide words, those that feel like something more often; find word, part of speech, polarity, and the grade.

    Args:
        masking: mask token, pool and what is never hidden; the choice is the rates', whatever it says, and the pieces
            of a word are treated alike.
        felt: share of the words with a polarity that are hidden.
        others: share of the other words.
        late: share of the texts whose grade is to be found and not given.
    """

    name = "label-aware-words"
    heads = ("masked-tokens", "part-of-speech", "word-polarity", "grade")

    def __init__(self, masking: Masking, *, felt: float = 0.3, others: float = 0.15, late: float = 0.2) -> None:
        self.masking = masking
        self.felt = felt
        self.others = others
        self.late = late

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> LabelAwareBatch:
        """Hide words with what is known of them.

        Raises:
            UserError: there is no text, or nothing is known of its words.
        """
        text = inputs.text
        if text is None or text.token_labels is None or not UNKNOWN.keys() <= text.token_labels.keys():
            raise UserError(
                f"label-aware-words hides words of which {', '.join(UNKNOWN)} are known; give the text these marks, as "
                "mm_kptm.knowledge.lexicons.sentiwordnet.felt_tokens does"
            )
        part, polarity, grade = (text.token_labels[name] for name in UNKNOWN)
        units = torch.arange(len(text.ids)) if text.mask_groups is None else text.mask_groups
        draws = MaskingDraws.fresh(units, generator).per_group(units)
        late = torch.rand(len(text.layout), generator=generator) < self.late
        rates = torch.where(polarity == NEUTRAL, self.others, self.felt)
        masking = replace(self.masking, policy=RowRates(rates))
        hidden, rows = masking.mask(text, generator, draws=draws)
        # a word that stays in sight keeps what is known of it
        lost = torch.zeros_like(text.ids, dtype=torch.bool).index_fill(0, rows, True)
        lost &= draws.treat < masking.mask_share + masking.random_share
        owners = text.layout.sequence_ids(rows.device)
        marks = {
            "part": part.masked_fill(lost, OTHER),
            "polarity": polarity.masked_fill(lost, NEUTRAL),
            "grade": grade.masked_fill(late[owners], UNGRADED),
        }
        of_text = torch.full_like(late, UNGRADED, dtype=torch.long).scatter_reduce(0, owners, grade, "amin")
        sought = (late & (of_text != UNGRADED)).nonzero().squeeze(1)
        plain = (polarity[rows] == NEUTRAL) & (part[rows] == OTHER)
        return LabelAwareBatch(
            inputs=inputs.with_streams(text=replace(hidden, token_labels=marks)),
            rows=rows,
            words=text.ids[rows],
            parts=part[rows].masked_fill(plain, NOT_SOUGHT),
            polarities=polarity[rows].masked_fill(plain, NOT_SOUGHT),
            owners=owners[rows],
            firsts=text.layout.starts(rows.device)[sought],
            grades=of_text[sought],
            graded=sought,
        )

    def losses(self, system: System, batch: LabelAwareBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """The cross-entropies of all that is sought and the text of each, by the head that found it."""
        output_rows = torch.cat([batch.rows, batch.firsts])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": output_rows}, pooled=False))
        hidden, firsts = encoded.text.split([len(batch.rows), len(batch.firsts)])
        sought = zip(
            self.heads,
            (hidden, hidden, hidden, firsts),
            (batch.words, batch.parts, batch.polarities, batch.grades),
            (batch.owners, batch.owners, batch.owners, batch.graded),
            strict=True,
        )
        found = {}
        for name, states, labels, owners in sought:
            kept = labels != NOT_SOUGHT
            scores = system.head(name)(states[kept])
            found[name] = F.cross_entropy(scores, labels[kept], reduction="none"), owners[kept]
        return found

    def loss(self, system: System, batch: LabelAwareBatch) -> Tensor:
        """The sum of the means over words, parts of speech, polarities and grades; none of a kind adds nothing."""
        return torch.stack([mean(losses) for losses, _ in self.losses(system, batch).values()]).sum()

    def measure(self, system: System, batch: LabelAwareBatch) -> Tensor:
        """The same sum for each text, [B]; the batch's mean where nothing of a kind is sought of a text."""
        found = self.losses(system, batch).values()
        return torch.stack([mean_of_each(losses, owners, len(batch)) for losses, owners in found]).sum(0)


def _label_aware_words(context: ObjectiveContext) -> LabelAwareWords:
    specials = context.specials
    masking = Masking(specials.mask, (0, context.vocab_size), specials.never_hidden)
    return LabelAwareWords(masking, others=context.mask_rate, **context.offered(TAGGED_WORDS))


LABEL_AWARE_WORDS = ObjectiveSpec(
    LabelAwareWords.name,
    "Ke et al. 2020, SentiLARE, EMNLP, section 3.3",
    _label_aware_words,
    needs=(TAGGED_WORDS,),
)
