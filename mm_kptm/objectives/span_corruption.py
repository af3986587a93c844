"""Span corruption: the encoder reads a text with sentinels for its masked spans, the decoder writes these (T5, mT5).

Shapes: N tokens of a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec

BoolArray = NDArray[np.bool_]


def noise_counts(length: int, *, density: float = 0.15, mean_length: float = 3.0) -> tuple[int, int]:
    """Number of noise tokens and of noise spans of a text of at least two tokens; halves are rounded to even.

    >>> noise_counts(568)
    (85, 28)
    """
    tokens = int(np.rint(np.float32(length) * np.float32(density)))
    tokens = min(max(tokens, 1), length - 1)
    spans = max(int(np.rint(np.float32(tokens) / np.float32(mean_length))), 1)
    return tokens, min(spans, length - tokens)  # a token is kept before every span


def raw_lengths(inputs: int, *, density: float = 0.15, mean_length: float = 3.0) -> tuple[int, int]:
    """Tokens of raw text whose corrupted form fills ``inputs`` tokens, and the tokens of its target, stops included.

    >>> raw_lengths(512)
    (568, 114)
    """

    def both(length: int) -> tuple[int, int]:
        noise = round(length * density)
        spans = round(noise / mean_length)
        return length - noise + spans + 1, noise + spans + 1

    length = inputs
    while both(length + 1)[0] <= inputs:
        length += 1
    targets = both(length)[1]
    if density == 0.5 and targets > inputs:  # as released: equal lengths of both sides
        return length - 1, targets - 1
    return length, targets


def noise_mask(
    length: int, rng: np.random.RandomState, *, density: float = 0.15, mean_length: float = 3.0
) -> BoolArray:
    """Which tokens are noise, [N]: kept and noise spans alternate, a kept one first and a noise one last.

    The tokens of either kind are cut into as many spans uniformly (``random_spans_noise_mask`` of the released code).
    """
    if length < 2:
        return np.zeros(length, np.bool_)
    noise, spans = noise_counts(length, density=density, mean_length=mean_length)
    lengths = np.stack([_cut(length - noise, spans, rng), _cut(noise, spans, rng)], 1).ravel()
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def _cut(items: int, parts: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Lengths of non-empty parts, every way to cut being equally likely."""
    borders = np.sort(rng.permutation(items - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], borders, [items]]))


def corrupted(ids: Sequence[int], noise: BoolArray, sentinels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Inputs, with a sentinel for every noise span, and targets, with the same ones for the spans between.

    >>> corrupted([5, 6, 7, 8, 9], np.array([False, True, True, False, True]), [99, 98])
    ([5, 99, 8, 98], [99, 6, 7, 98, 9])
    """
    return _without(ids, noise, sentinels), _without(ids, ~noise, sentinels)


def _without(ids: Sequence[int], left_out: BoolArray, sentinels: Sequence[int]) -> list[int]:
    left = iter(sentinels)
    firsts = left_out & ~np.concatenate([[False], left_out[:-1]])
    return [
        next(left) if first else token
        for token, first, out in zip(ids, firsts.tolist(), left_out.tolist(), strict=True)
        if first or not out
    ]


class SpanCorruption(NextTokens):
    """Reconstruction of masked spans with the head ``next-tokens`` (Raffel et al. 2020, section 3.1.4).

    Each noise span of a text is one sentinel of the encoder's input; the decoder writes every sentinel and the span
    that it stands for. Special tokens around a text stay.

    Args:
        specials: special tokens around texts; the decoder begins with ``start``.
        sentinels: ids of the sentinels, in the order of their use.
        density: share of the tokens that are noise.
        mean_length: mean length of a noise span.

    Raises:
        UserError: the density or the mean length is out of range.
    """

    name = "span-corruption"

    def __init__(
        self, specials: Specials, sentinels: Sequence[int], *, density: float = 0.15, mean_length: float = 3.0
    ) -> None:
        super().__init__()
        if not 0 < density < 1 or mean_length < 1:
            raise UserError(
                f"a share between 0 and 1 of a text is noise, in spans of one token or more; not {density} in spans of "
                f"{mean_length}"
            )
        self.specials = specials
        self.sentinels = sentinels
        self.density = density
        self.mean_length = mean_length

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """Corrupted texts, with their noise spans as targets.

        Raises:
            UserError: there is no text or no generator, or a text has more noise spans than there are sentinels.
        """
        if inputs.text is None or generator is None:
            raise UserError(f"{self.name} masks text at random, so it needs inputs with a text and a generator")
        rng = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
        tokens = inputs.text
        both = [self._corrupted(part.tolist(), rng) for part in tokens.layout.split(tokens.ids)]
        languages: list[Any] = [None, None]
        if tokens.languages is not None:
            spoken = tokens.languages[tokens.layout.starts(tokens.ids.device)].tolist()
            languages = [
                [[language] * len(pair[side]) for language, pair in zip(spoken, both, strict=True)] for side in (0, 1)
            ]
        shown, written = (
            Tokens.of([pair[side] for pair in both], languages=languages[side]).to(tokens.ids.device) for side in (0, 1)
        )
        return super().prepare(inputs.with_streams(text=shown, target=written))

    def _corrupted(self, ids: list[int], rng: np.random.RandomState) -> tuple[list[int], list[int]]:
        first = int(self.specials.opens and ids[0] == self.specials.start)
        last = len(ids) - (ids[-1] == self.specials.stop and len(ids) > first)
        noise = noise_mask(last - first, rng, density=self.density, mean_length=self.mean_length)
        spans = int((np.diff(noise.astype(np.int8)) > 0).sum())
        if spans > len(self.sentinels):
            raise UserError(
                f"a text of {last - first} tokens has {spans} noise spans, but the vocabulary has "
                f"{len(self.sentinels)} sentinels; take a smaller max_length"
            )
        shown, written = corrupted(ids[first:last], noise, self.sentinels)
        stop = self.specials.stop
        return [*ids[:first], *shown, stop], [self.specials.start, *written, stop]


def sentinels_of(vocabulary: Sequence[str], vocab_size: int, specials: Specials) -> list[int]:
    """Ids of the pieces ``<extra_id_0>``, ``<extra_id_1>`` ...; without these, those of the last hundred pieces.

    >>> sentinels_of(["<pad>", "</s>", "<unk>", "a", "<extra_id_1>", "<extra_id_0>"], 6, Specials(0, 2, 0, 1, 2))
    [5, 4]
    """
    numbered = {match[1]: place for place, piece in enumerate(vocabulary) if (match := _SENTINEL.fullmatch(piece))}
    named = [numbered[number] for number in sorted(numbered, key=int)]
    framing = {specials.pad, specials.unknown, specials.start, specials.stop, specials.mask}
    return named or [token for token in range(vocab_size - 1, -1, -1) if token not in framing][:100]


_SENTINEL = re.compile(r"▁?<extra_id_(\d+)>")


def _from_context(context: ObjectiveContext) -> SpanCorruption:
    sentinels = sentinels_of(context.vocabulary, context.vocab_size, context.specials)
    return SpanCorruption(context.specials, sentinels, **context.arguments)


SPAN_CORRUPTION = ObjectiveSpec(
    SpanCorruption.name,
    "Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, JMLR, "
    "section 3.1.4",
    _from_context,
    needs=(TEXTS,),
    streams=("target",),
    arguments=("density", "mean_length"),
)
