"""Masked-token prediction, with the masking policies of BERT, XLM, UNITER and related systems.

The context is that of the batch: a sentence (BERT), a sentence and its translation (TLM, Conneau and Lample 2019) or a
caption and its image (UNITER, Chen et al. 2020).

Shapes: T token rows, P predicted rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, SequenceLayout, Tokens, pad
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import RowObjective, RowTargets, mean
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.vocabulary_loss import vocabulary_losses
from mm_kptm.systems.system import System


class MaskingPolicy(Protocol):
    """Choice of the masked rows among the maskable ones."""

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        """True where masked, [T], from uniform ``draws`` [T] and the maskable rows ``may`` [T]."""


@dataclass(frozen=True)
class Bernoulli:
    """Independent choice of every row with probability ``rate`` (XLM, LXMERT)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may & (draws < self.rate)


@dataclass(frozen=True)
class BernoulliOrFirst:
    """Independent choice; in a sequence without a masked row, the first maskable one, as [MASK] (UNITER)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        hidden = may & (draws < self.rate)
        sequence_ids = layout.sequence_ids(may.device)
        none = torch.zeros(len(layout), dtype=torch.long).index_add(0, sequence_ids, hidden.long()) == 0
        rank = _rank(torch.arange(len(may), dtype=torch.double), may, layout)
        return hidden | (may & none[sequence_ids] & (rank == 0))

    def added(self, draws: Tensor, hidden: Tensor) -> Tensor:
        """The rows that are masked because nothing else was, [T]; the released code shows them as [MASK] always."""
        return hidden & (draws >= self.rate)


@dataclass(frozen=True)
class BernoulliOrAny:
    """Independent choice; in a sequence without a masked row, a random maskable one (UNITER's regions)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        # where no draw fell below the rate, the smallest one is uniform over the rows
        return may & ((draws < self.rate) | (_rank(draws, may, layout) == 0))


@dataclass(frozen=True)
class ExactCount:
    """A fixed share of every sequence, special tokens counted in its length (Devlin et al. 2019, released script)."""

    rate: float = 0.15
    at_least: int = 1
    at_most: int = 512

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        counts = [min(self.at_most, max(self.at_least, round(self.rate * length))) for length in layout.lengths]
        return may & (_rank(draws.double(), may, layout) < torch.tensor(counts)[layout.sequence_ids(may.device)])


@dataclass(frozen=True)
class WholeUnitCount:
    """A fixed share of every sequence, in whole mask groups: a group that exceeds the share is skipped.

    Whole-word masking (BERT's models of 2019; Cui et al. 2021). Rows of one group are those with the same draw.
    """

    rate: float = 0.15
    at_least: int = 1
    at_most: int = 512

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        hidden = torch.zeros_like(may)
        rows = may.nonzero().squeeze(1)
        if not len(rows):
            return hidden
        sequence_ids = layout.sequence_ids(draws.device)[rows]
        order = torch.argsort(draws[rows], stable=True)
        order = order[torch.argsort(sequence_ids[order], stable=True)]  # by sequence, then by draw
        rows, sequence_ids = rows[order], sequence_ids[order]
        begins = torch.ones_like(rows, dtype=torch.bool)
        begins[1:] = (draws[rows[1:]] != draws[rows[:-1]]) | (sequence_ids[1:] != sequence_ids[:-1])
        unit = begins.cumsum(0) - 1
        sizes = SequenceLayout(tuple(torch.bincount(unit).tolist()))
        of_unit = sequence_ids[begins]
        units = SequenceLayout(tuple(torch.bincount(of_unit, minlength=len(layout)).tolist()))
        room = torch.tensor(
            [min(self.at_most, max(self.at_least, round(self.rate * length))) for length in layout.lengths]
        )
        wide = pad(torch.tensor(sizes.lengths), units)  # [B, units of a sequence], 0 where there are fewer
        fits = torch.zeros_like(wide, dtype=torch.bool)
        for column, size in enumerate(wide.T):  # the next unit of every sequence at once
            if not room.any():
                break
            fits[:, column] = size <= room
            room = room - size * fits[:, column]
        hidden[rows] = fits[of_unit, units.offsets_in_sequence(draws.device)][unit]
        return hidden


def _rank(draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
    """Rank of every row in its sequence by its draw, maskable rows first, [T]."""
    sequence_ids = layout.sequence_ids(draws.device)
    order = torch.argsort(draws + (~may) * 2.0 * (1.0 + draws.abs().max() if len(draws) else 1.0), stable=True)
    order = order[torch.argsort(sequence_ids[order], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = layout.offsets_in_sequence(draws.device)
    return rank


@dataclass(frozen=True)
class MaskingDraws:
    """Uniform random numbers of a corruption."""

    choose: Tensor  #: choice of the masked rows, one number per mask group, [T]
    treat: Tensor  #: choice of mask token, random token or original, [T]
    replace: Tensor  #: choice of the random token, [T]

    @classmethod
    def fresh(cls, groups: Tensor, generator: torch.Generator) -> MaskingDraws:
        """New random numbers; rows of one mask group share ``choose``."""
        per_unit = torch.rand(int(groups.max().clamp(min=0)) + 1 if len(groups) else 0, generator=generator)
        treat, instead = torch.rand(2, len(groups), generator=generator)
        return cls(per_unit[groups], treat, instead)

    def per_group(self, groups: Tensor) -> MaskingDraws:
        """The same numbers with ``treat`` of a group's first row for all its rows: masked, replaced or kept alike."""
        rows, numbers = torch.arange(len(groups)), groups.clamp(min=0)
        firsts = torch.full((int(numbers.max()) + 1 if len(rows) else 0,), len(rows))
        firsts = firsts.scatter_reduce(0, numbers[groups >= 0], rows[groups >= 0], "amin")
        return replace(self, treat=self.treat[torch.where(groups < 0, rows, firsts[numbers])])


class Replacement(Protocol):
    """Tokens that replace masked rows instead of the mask token."""

    def __call__(self, tokens: Tokens, masked: Tensor, random: Tensor, draws: MaskingDraws) -> Tensor:
        """Ids, used at the ``masked`` rows, [T]; ``random`` [T] holds random ids of the pool."""


@dataclass(frozen=True)
class Masking:
    """Token masking: which tokens are masked, and what replaces them.

    Args:
        mask_id: id of the mask token.
        pool: random replacements are drawn from ids ``pool[0]`` to ``pool[1] - 1``.
        never: ids that are never masked (special tokens).
        policy: chooses the masked rows.
        mask_share: share of masked rows that become ``mask_id``.
        random_share: share of masked rows that become a random token; the rest stay unchanged.
        replacement: tokens used instead of ``mask_id``.
        mask_units_alike: whether the rows of a mask group are masked, replaced or kept together.
    """

    mask_id: int
    pool: tuple[int, int]
    never: frozenset[int]
    policy: MaskingPolicy = Bernoulli()
    mask_share: float = 0.8
    random_share: float = 0.1
    replacement: Replacement | None = None
    mask_units_alike: bool = False

    @classmethod
    def of(cls, context: ObjectiveContext, policy: MaskingPolicy | None = None) -> Masking:
        """BERT's masking of a vocabulary: special tokens stay, and any token may replace one.

        Every token is chosen by itself at the rate of the context, unless ``policy`` chooses.
        """
        specials, chosen = context.specials, Bernoulli(context.mask_rate) if policy is None else policy
        return cls(specials.mask_id, (0, context.vocab_size), specials.never_masked, policy=chosen)

    def mask(
        self,
        tokens: Tokens,
        generator: torch.Generator,
        *,
        groups: Tensor | None = None,
        draws: MaskingDraws | None = None,
    ) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the masked rows in order, [P].

        Args:
            tokens: left unchanged.
            generator: unused when ``draws`` are given.
            groups: rows with the same number are hidden together (whole words, phrases, entities), those with -1 not at
                all, [T]; what the tokens say of it unless given.
            draws: random numbers to use instead of fresh ones.
        """
        groups = tokens.mask_groups if groups is None else groups
        groups = torch.arange(len(tokens.ids)) if groups is None else groups
        draws = MaskingDraws.fresh(groups, generator) if draws is None else draws
        draws = draws.per_group(groups) if self.mask_units_alike else draws
        hidden = self.policy(draws.choose, self.maskable(tokens, groups), tokens.layout)
        low, high = self.pool
        random = low + (draws.replace * (high - low)).long()
        masked = hidden & (draws.treat < self.mask_share)
        if isinstance(self.policy, BernoulliOrFirst):
            masked = masked | self.policy.added(draws.choose, hidden)
        swapped = hidden & ~masked & (draws.treat < self.mask_share + self.random_share)
        shown = self.mask_id if self.replacement is None else self.replacement(tokens, masked, random, draws)
        ids = torch.where(masked, shown, torch.where(swapped, random, tokens.ids))
        return replace(tokens, ids=ids), hidden.nonzero().squeeze(1)

    def maskable(self, tokens: Tokens, groups: Tensor) -> Tensor:
        """True where a row may be masked, [T]."""
        return ~torch.isin(tokens.ids, torch.tensor(sorted(self.never), dtype=torch.long)) & (groups >= 0)


class TokenMasker(Protocol):
    """Interface of token masking: :class:`Masking` or :class:`~mm_kptm.objectives.spans.RunMasking`."""

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the masked rows in order, [P]."""


@dataclass(frozen=True)
class WholeWordMasking:
    """Masking of whole words of WordPiece, each piece of a word treated like its first.

    Args:
        masking: of the words.
        continuing: ids of the pieces that continue a word.
    """

    masking: Masking
    continuing: frozenset[int]

    @classmethod
    def of(cls, masking: Masking, vocabulary: Sequence[str]) -> WholeWordMasking:
        """Masking of words whose later pieces begin with ``##``."""
        later = frozenset(id_ for id_, piece in enumerate(vocabulary) if piece.startswith("##"))
        return cls(replace(masking, mask_units_alike=True), later)

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the masked rows in order, [P]."""
        continuing = torch.isin(tokens.ids, torch.tensor(sorted(self.continuing), dtype=torch.long))
        begins = ~continuing | (tokens.layout.offsets_in_sequence(tokens.ids.device) == 0)
        return self.masking.mask(tokens, generator, groups=begins.cumsum(0) - 1)


class MaskedTokens(RowObjective[RowTargets]):
    """Masked-token prediction with the system's head of that name."""

    name = "masked-tokens"
    head = "masked-tokens"

    def __init__(self, masking: TokenMasker) -> None:
        self.masking = masking

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Mask some tokens of the inputs.

        Raises:
            UserError: there is no text to mask.
        """
        if inputs.text is None:
            raise UserError("masked-tokens masks text, but the inputs have none")
        hidden, rows = self.masking.mask(inputs.text, generator)
        sequence_ids = inputs.text.layout.sequence_ids(rows.device)[rows]
        return RowTargets(inputs.with_streams(text=hidden), rows, inputs.text.ids[rows], sequence_ids)

    def losses(self, system: System, batch: RowTargets) -> Tensor:
        """The cross-entropy of every masked token, [P]; only these rows are scored."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        return vocabulary_losses(system.head(self.head), encoded.text, batch.labels)


def token_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of scores [P, V] against token ids [P]; zero when P is 0."""
    return mean(F.cross_entropy(scores, labels, reduction="none"))


def _masked_tokens(context: ObjectiveContext) -> MaskedTokens:
    specials, asked = context.specials, context.arguments
    policy = (BernoulliOrFirst if asked.get("at_least_one") else Bernoulli)(context.mask_rate)
    first = context.piece(asked.get("random_from", ""))
    return MaskedTokens(Masking(specials.mask_id, (first, context.vocab_size), specials.never_masked, policy=policy))


MASKED_TOKENS = ObjectiveSpec(
    "masked-tokens",
    "Devlin et al. 2019, BERT, NAACL, section 3.1, task 1",
    _masked_tokens,
    arguments=("at_least_one", "random_from"),
)
