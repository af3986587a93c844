"""MASS: the decoder predicts the span that is masked in the encoder's input.

Shapes: T rows, P masked rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec


@dataclass(frozen=True)
class SpanPolicy:
    """Choice of the masked positions of a text (Song et al. 2019, section 3.2, as released).

    ``round(length * share)`` positions, both ends of the text counted in its length, but one at least, in segments of
    at most ``max_span_length``; the first token never. With probability 0.2 the first segment follows it directly, with
    0.2 the last segment ends the text, otherwise segments lie anywhere.
    """

    share: float = 0.5
    max_span_length: int = 10000

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.max_span_length < 1:
            raise UserError(
                f"a share between 0 and 1 of a text is masked in segments of at least one token, not {self.share} in "
                f"segments of {self.max_span_length}"
            )

    def places(self, length: int, rng: random.Random) -> list[int]:
        """Masked positions of a text of ``length`` tokens, in order.

        Raises:
            UserError: it has one token.
        """
        if length < 2:
            raise UserError(
                "the first token of a text is never masked, but a text has no other; leave texts of one token out"
            )
        count = min(max(1, round(length * self.share)), length - 1)
        whole, rest = divmod(count, self.max_span_length)
        segments = [self.max_span_length] * whole + [rest] * bool(rest)
        draw = rng.random()
        first, last = segments[:1] if draw >= 0.8 else [], segments[-1:] if 0.6 <= draw < 0.8 else []
        inner = segments[len(first) : len(segments) - len(last)]
        mixed = [*inner, *[0] * (length - 1 - count)]  # 0 is an unmasked token
        rng.shuffle(mixed)
        found: list[int] = []
        place = 1
        for size in (*first, *mixed, *last):
            found += range(place, place + size)
            place += max(size, 1)
        return found


class MaskedSpanGeneration(NextTokens):
    """Generation of the masked span of a text (Song et al. 2019, eq. 1), with the head ``next-tokens``.

    The decoder input is the token before each masked position, with that token's own position, and nothing else.

    Args:
        mask_id: id that replaces 80 % of the masked tokens; 10 % stay, 10 % become random tokens.
        vocab_size: upper bound of random tokens.
        policy: chooses the masked positions.
    """

    name = "masked-span-generation"

    def __init__(self, *, mask_id: int, vocab_size: int, policy: SpanPolicy = SpanPolicy()) -> None:
        super().__init__()
        self.mask_id = mask_id
        self.vocab_size = vocab_size
        self.policy = policy

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """Mask spans of the text, to be predicted.

        Raises:
            UserError: there is no text, or one of a single token, or no generator.
        """
        if inputs.text is None or generator is None:
            raise UserError(f"{self.name} masks text at random, so it needs inputs with a text and a generator")
        rng = random.Random(int(torch.randint(2**62, (), generator=generator)))
        tokens = inputs.text
        rows = [
            first + place
            for first, length in zip(tokens.layout.offsets, tokens.layout.lengths, strict=False)
            for place in self.policy.places(length, rng)
        ]
        hidden = torch.tensor(rows, dtype=torch.long)
        draws, instead = torch.rand(2, len(rows), generator=generator)
        random_ids = (instead * self.vocab_size).long()
        shown = torch.where(draws < 0.8, self.mask_id, torch.where(draws < 0.9, tokens.ids[hidden], random_ids))
        ids = tokens.ids.clone()
        ids[hidden] = shown
        return masked_span_batch(inputs, hidden, ids)


def masked_span_batch(inputs: Inputs, hidden: Tensor, shown: Tensor) -> Continuation:
    """The batch that predicts the masked rows of a text.

    Args:
        inputs: inputs with the original text.
        hidden: masked rows in order, none the first of its text, [P].
        shown: corrupted ids of the encoder input, [T].
    """
    tokens = inputs.text
    if tokens is None:
        raise UserError("spans are masked in a text, but the inputs have none")
    sequence_ids = tokens.layout.sequence_ids(hidden.device)[hidden]
    before = hidden - 1
    counts = torch.bincount(sequence_ids, minlength=len(tokens.layout)).tolist()
    target = Tokens(
        ids=tokens.ids[before],
        layout=SequenceLayout(tuple(counts)),
        positions=tokens.positions[before],
        segments=torch.zeros_like(before),
        languages=None if tokens.languages is None else tokens.languages[before],
    )
    rows = torch.arange(len(hidden), device=hidden.device)
    masked = inputs.with_streams(text=replace(tokens, ids=shown), target=target)
    return Continuation(masked, rows, tokens.ids[hidden], sequence_ids, "target")


def columns_of(layout: SequenceLayout, places: Sequence[Sequence[int]]) -> Tensor:
    """Row numbers of positions counted from the first token of each text, in order, [P]."""
    rows = [first + place for first, found in zip(layout.offsets, places, strict=False) for place in found]
    return torch.tensor(rows, dtype=torch.long)


def _from_context(context: ObjectiveContext) -> MaskedSpanGeneration:
    policy = SpanPolicy(**context.arguments)
    return MaskedSpanGeneration(mask_id=context.specials.mask_id, vocab_size=context.vocab_size, policy=policy)


MASKED_SPAN_GENERATION = ObjectiveSpec(
    MaskedSpanGeneration.name,
    "Song et al. 2019, MASS: Masked Sequence to Sequence Pre-training for Language Generation, ICML, equation 1",
    _from_context,
    needs=(TEXTS,),
    streams=("target",),
    arguments=("share", "max_span_length"),
)
