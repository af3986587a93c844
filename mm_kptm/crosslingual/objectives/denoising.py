"""mBART's denoising: text infilling and sentence permutation, reconstructed by the decoder.

Shapes: T rows, B texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens

Words = list[list[int]]


@dataclass(frozen=True)
class Infilling:
    """Text infilling and sentence permutation (Liu et al. 2020, section 2.3; Lewis et al. 2020, section 2.2).

    Args:
        mask_id: id that replaces a whole span.
        stop: id that ends a sentence; it is never masked and stays at the end of its sentence.
        share: share of the words that is masked.
        mean_length: mean of the Poisson distribution of span lengths; a span of length 0 inserts a mask.
        permute: whether sentences are permuted.

    Raises:
        UserError: ``share`` or ``mean_length`` is out of range.
    """

    mask_id: int
    stop: int
    share: float = 0.35
    mean_length: float = 3.5
    permute: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.mean_length <= 0:
            raise UserError(
                f"a share of the words is masked in spans of positive mean length, not {self.share} in spans of "
                f"{self.mean_length}"
            )

    def noised(self, words: Words, generator: torch.Generator) -> list[int]:
        """Noised ids of a text of words; a sentence ends with the stop token as a word."""
        sentences: list[Words] = [[]]
        for word in words:
            sentences[-1].append(word)
            if word == [self.stop]:
                sentences.append([])
        sentences = [sentence for sentence in sentences if sentence]
        if self.permute:
            sentences = [sentences[place] for place in torch.randperm(len(sentences), generator=generator).tolist()]
        words = [word for sentence in sentences for word in sentence]
        places = [place for place, word in enumerate(words) if word != [self.stop]]
        hidden, masked_at = self._spans(len(places), generator)
        shown: list[int] = []
        number = 0
        for word in words:
            if word == [self.stop]:
                shown += word
                continue
            shown += [self.mask_id] * masked_at[number]
            shown += [] if hidden[number] else word
            number += 1
        return shown

    def _spans(self, count: int, generator: torch.Generator) -> tuple[list[bool], list[int]]:
        """Which of ``count`` words are masked, and the number of masks before each."""
        hidden, masked_at = [False] * count, [0] * count
        left = round(self.share * count)
        lengths, inserted = [], 0
        while left:
            length = min(int(torch.poisson(torch.tensor([self.mean_length]), generator=generator)), left)
            inserted += length == 0
            left -= length
            lengths += [length] * bool(length)
        mixed = [*lengths, *[0] * (count - sum(lengths))]  # 0 is an unmasked word
        place = 0
        for number in torch.randperm(len(mixed), generator=generator).tolist():
            size = mixed[number]
            masked_at[place] += bool(size)
            hidden[place : place + size] = [True] * size
            place += max(size, 1)
        if inserted:
            for place in torch.randint(count, (inserted,), generator=generator).tolist():
                masked_at[place] += 1
        return hidden, masked_at


class Denoising(NextTokens):
    """Reconstruction of a text from its noised form (Liu et al. 2020, eq. 1), with the head ``next-tokens``.

    The text of the inputs is an instance ``X </s> [code]``, of one or several sentences; the decoder reads
    ``[code] X </s>`` and predicts the instance. ``mask_groups`` of the tokens group the pieces of a word; without
    them every token is a word.

    Args:
        noise: the noise function.
    """

    name = "denoising"

    def __init__(self, noise: Infilling) -> None:
        super().__init__()
        self.noise = noise

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """Noised texts with the originals as targets.

        Raises:
            UserError: there is no text, or no generator.
        """
        if inputs.text is None or generator is None:
            raise UserError("denoising noises a text at random, so it needs inputs with a text and a generator")
        tokens = inputs.text
        ids = [part.tolist() for part in tokens.layout.split(tokens.ids)]
        groups = (
            ids if tokens.mask_groups is None else [part.tolist() for part in tokens.layout.split(tokens.mask_groups)]
        )
        texts = [
            [
                *self.noise.noised(words_of(text[:-1], numbers[:-1], apart=tokens.mask_groups is None), generator),
                text[-1],
            ]
            for text, numbers in zip(ids, groups, strict=True)
        ]
        target = Tokens.of([[text[-1], *text] for text in ids])
        return super().prepare(Inputs(text=Tokens.of(texts), target=target))


def words_of(ids: Sequence[int], groups: Sequence[int], *, apart: bool = False) -> Words:
    """Words as runs of ids of one group; ids of group -1, or all ids with ``apart``, are single words.

    >>> words_of([7, 8, 9, 2], [0, 0, 1, -1])
    [[7, 8], [9], [2]]
    """
    words: Words = []
    last = -1
    for token, group in zip(ids, groups, strict=True):
        if apart or group < 0 or group != last:
            words.append([token])
        else:
            words[-1].append(token)
        last = group
    return words
