"""Masked-token prediction: one masking engine whose policies are all that BERT, XLM, UNITER and their kin vary.

Whether a model must guess from a sentence (BERT), from a sentence and its translation (TLM, Conneau and Lample 2019) or
from a caption and its image (Chen et al. 2020) is the batch's business, not ours.

Shapes: T token rows, P predicted rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import RowObjective, RowTargets, mean
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System


class MaskingPolicy(Protocol):
    """Which of the rows that may be hidden are hidden."""

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        """True where hidden, [T], from uniform ``draws`` [T] and the rows that ``may`` be chosen [T]."""


@dataclass(frozen=True)
class Bernoulli:
    """Every row by itself with probability ``rate`` (XLM, LXMERT)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        return may & (draws < self.rate)


@dataclass(frozen=True)
class BernoulliOrFirst:
    """Every row by itself; in a sequence where none was drawn, the first that may be (UNITER)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        hidden = may & (draws < self.rate)
        owners = layout.sequence_ids(may.device)
        none = torch.zeros(len(layout), dtype=torch.long).index_add(0, owners, hidden.long()) == 0
        rank = _rank(torch.arange(len(may), dtype=torch.double), may, layout)
        return hidden | (may & none[owners] & (rank == 0))


@dataclass(frozen=True)
class BernoulliOrAny:
    """Every row by itself; in a sequence where none was drawn, any one that may be (UNITER's regions)."""

    rate: float = 0.15

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        # where no draw fell below the rate, the smallest one is uniform over the rows
        return may & ((draws < self.rate) | (_rank(draws, may, layout) == 0))


@dataclass(frozen=True)
class ExactCount:
    """A fixed share of every sequence, specials counted in its length (Devlin et al. 2019, released script)."""

    rate: float = 0.15
    at_least: int = 1
    at_most: int = 512

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        counts = [min(self.at_most, max(self.at_least, round(self.rate * length))) for length in layout.lengths]
        return may & (_rank(draws.double(), may, layout) < torch.tensor(counts)[layout.sequence_ids(may.device)])


@dataclass(frozen=True)
class WholeUnitCount:
    """A fixed share of every sequence, in whole units: one that no longer fits is passed over, not cut.

    Whole-word masking (BERT's models of 2019; Cui et al. 2021). Rows of one unit are those with the same draw.
    """

    rate: float = 0.15
    at_least: int = 1
    at_most: int = 512

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        hidden = torch.zeros_like(may)
        for first, length in zip(layout.offsets, layout.lengths, strict=False):
            rows = first + may[first : first + length].nonzero().squeeze(1)
            _, unit, sizes = torch.unique(draws[rows], return_inverse=True, return_counts=True)
            room = min(self.at_most, max(self.at_least, round(self.rate * length)))
            fits = []
            for size in sizes.tolist():
                fits.append(size <= room)
                room -= size * fits[-1]
            hidden[rows] = torch.tensor(fits, dtype=torch.bool)[unit]
        return hidden


def _rank(draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
    """The place of every row when the rows of its sequence that ``may`` are put in order of their draws, [T]."""
    owners = layout.sequence_ids(draws.device)
    order = torch.argsort(draws + (~may) * 2.0 * (1.0 + draws.abs().max() if len(draws) else 1.0), stable=True)
    order = order[torch.argsort(owners[order], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = layout.offsets_in_sequence(draws.device)
    return rank


@dataclass(frozen=True)
class MaskingDraws:
    """The uniform numbers that a corruption is made of; injected by tests, drawn otherwise."""

    choose: Tensor  #: per unit that is hidden together, laid on its rows, [T]
    treat: Tensor  #: mask, replace or keep, [T]
    replace: Tensor  #: which token instead, [T]

    @classmethod
    def fresh(cls, groups: Tensor, generator: torch.Generator) -> MaskingDraws:
        """New numbers; rows of one unit share the one that decides whether they are hidden."""
        per_unit = torch.rand(int(groups.max().clamp(min=0)) + 1 if len(groups) else 0, generator=generator)
        treat, instead = torch.rand(2, len(groups), generator=generator)
        return cls(per_unit[groups], treat, instead)

    def per_group(self, groups: Tensor) -> MaskingDraws:
        """The same numbers, but the rows of a unit are all masked, all replaced or all kept, as its first row is."""
        rows, numbers = torch.arange(len(groups)), groups.clamp(min=0)
        firsts = torch.full((int(numbers.max()) + 1 if len(rows) else 0,), len(rows))
        firsts = firsts.scatter_reduce(0, numbers[groups >= 0], rows[groups >= 0], "amin")
        return replace(self, treat=self.treat[torch.where(groups < 0, rows, firsts[numbers])])


class Replacement(Protocol):
    """What a masked row shows in place of the mask token."""

    def __call__(self, tokens: Tokens, masked: Tensor, random: Tensor, draws: MaskingDraws) -> Tensor:
        """Ids, of which those of the ``masked`` rows count, [T]; ``random`` [T] holds random ones of the pool."""


@dataclass(frozen=True)
class Masking:
    """How tokens are hidden: which, and what stands in their place.

    Args:
        mask_id: id of the mask token.
        pool: random replacements are drawn from ids ``pool[0]`` to ``pool[1] - 1``.
        never: ids that are never hidden (markers of beginning and end).
        choice: the policy.
        masked: share of hidden rows that become ``mask_id``; of the rest, ``swapped`` becomes a random token.
        stand_in: what masked rows show in place of ``mask_id``.
        alike: whether the rows of a unit are masked, replaced or kept together, not each by itself.
    """

    mask_id: int
    pool: tuple[int, int]
    never: frozenset[int]
    policy: MaskingPolicy = Bernoulli()
    mask_share: float = 0.8
    random_share: float = 0.1
    replacement: Replacement | None = None
    mask_units_alike: bool = False

    def mask(
        self,
        tokens: Tokens,
        generator: torch.Generator,
        *,
        groups: Tensor | None = None,
        draws: MaskingDraws | None = None,
    ) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the rows that were hidden, in order, [P].

        Args:
            tokens: are left as they are.
            generator: unused when ``draws`` are given.
            groups: rows with the same number are hidden together (whole words, phrases, entities), those with -1 not at
                all, [T]; what the tokens say of it unless given.
            draws: numbers to use in place of fresh ones.
        """
        groups = tokens.mask_groups if groups is None else groups
        groups = torch.arange(len(tokens.ids)) if groups is None else groups
        draws = MaskingDraws.fresh(groups, generator) if draws is None else draws
        draws = draws.per_group(groups) if self.mask_units_alike else draws
        hidden = self.policy(draws.choose, self.maskable(tokens, groups), tokens.layout)
        low, high = self.pool
        random = low + (draws.replace * (high - low)).long()
        masked = hidden & (draws.treat < self.mask_share)
        swapped = hidden & ~masked & (draws.treat < self.mask_share + self.random_share)
        shown = self.mask_id if self.replacement is None else self.replacement(tokens, masked, random, draws)
        ids = torch.where(masked, shown, torch.where(swapped, random, tokens.ids))
        return replace(tokens, ids=ids), hidden.nonzero().squeeze(1)

    def maskable(self, tokens: Tokens, groups: Tensor) -> Tensor:
        """True where a row may be hidden, [T]."""
        return ~torch.isin(tokens.ids, torch.tensor(sorted(self.never), dtype=torch.long)) & (groups >= 0)


class TokenMasker(Protocol):
    """A way to hide tokens: :class:`Masking`, or one that says more of which tokens go together."""

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """The corrupted tokens and the rows that were hidden, in order, [P]."""


class MaskedTokens(RowObjective[RowTargets]):
    """Predict the hidden tokens from everything the encoder saw, with the system's head of that name."""

    name = "masked-tokens"
    head = "masked-tokens"

    def __init__(self, masking: TokenMasker) -> None:
        self.masking = masking

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Hide some tokens of the inputs.

        Raises:
            UserError: there is no text to hide.
        """
        if inputs.text is None:
            raise UserError("masked-tokens hides text, but the inputs have none")
        hidden, rows = self.masking.mask(inputs.text, generator)
        owners = inputs.text.layout.sequence_ids(rows.device)[rows]
        return RowTargets(inputs.with_streams(text=hidden), rows, inputs.text.ids[rows], owners)

    def losses(self, system: System, batch: RowTargets) -> Tensor:
        """The cross-entropy of every hidden token, [P]; the vocabulary is scored only there."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.head)(encoded.text)
        return F.cross_entropy(scores, batch.labels, reduction="none")


def token_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of scores [P, V] against token ids [P]; zero when P is 0."""
    return mean(F.cross_entropy(scores, labels, reduction="none"))


def _masked_tokens(context: ObjectiveContext) -> MaskedTokens:
    specials = context.specials
    return MaskedTokens(
        Masking(specials.mask, (0, context.vocab_size), specials.never_hidden, policy=Bernoulli(context.mask_rate))
    )


MASKED_TOKENS = ObjectiveSpec("masked-tokens", "Devlin et al. 2019, BERT, NAACL, section 3.1, task 1", _masked_tokens)
