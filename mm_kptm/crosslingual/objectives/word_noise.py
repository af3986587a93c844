"""Denoising auto-encoding of XNLG and Unicoder's xDAE: words are shuffled, dropped and masked.

Shapes: B texts, N padded length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens, with_start
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec


@dataclass(frozen=True)
class WordNoise:
    """Word shuffling, dropping and masking (Lample et al. 2018, section 2.3), with the draws of XLM's code.

    The first token and the last ``ends`` tokens of a text are unchanged.

    Args:
        mask_id: id of a masked word.
        shuffle: words move by less than this many places; 0 leaves them in order.
        drop: probability of dropping a word; a text that loses all gets one back.
        blank: probability of masking a word.
        ends: number of special tokens at the end of a text.

    Raises:
        UserError: a probability is out of range.
    """

    mask_id: int
    shuffle: float = 3.0
    drop: float = 0.1
    blank: float = 0.1
    ends: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.drop < 1 and 0 <= self.blank < 1 and self.shuffle >= 0):
            raise UserError(
                f"words are dropped and blanked with a probability below 1 and shuffled by 0 or more places, not "
                f"{self.drop}, {self.blank} and {self.shuffle}"
            )

    def noised(self, texts: Sequence[Sequence[int]], rng: np.random.RandomState) -> list[list[int]]:
        """The noised texts; all random numbers of a kind are drawn for the padded batch at once, [N - ends, B]."""
        count, found = len(texts), [list(text) for text in texts]
        if self.shuffle > 0:
            noise = rng.uniform(0, self.shuffle, size=(self._longest(found), count))
            noise[0] = -1
            for number, text in enumerate(found):
                body = len(text) - self.ends
                order = (np.arange(body) + noise[:body, number]).argsort()
                text[:body] = [text[place] for place in order.tolist()]
        if self.drop > 0:
            kept = rng.rand(self._longest(found), count) >= self.drop
            kept[0] = True
            for number, text in enumerate(found):
                words = text[: len(text) - self.ends]
                rest = [word for place, word in enumerate(words) if kept[place, number]]
                if len(rest) == 1 and len(words) > 1:
                    rest.append(words[rng.randint(1, len(words))])
                text[: len(words)] = rest
        if self.blank > 0:
            kept = rng.rand(self._longest(found), count) >= self.blank
            kept[0] = True
            for number, text in enumerate(found):
                body = len(text) - self.ends
                text[:body] = [text[place] if kept[place, number] else self.mask_id for place in range(body)]
        return found

    def _longest(self, texts: Sequence[Sequence[int]]) -> int:
        return max(len(text) for text in texts) - self.ends


def item_rng(seed: int, epoch: int, index: int) -> np.random.RandomState:
    """Random generator of one item of an epoch, seeded as in fairseq (floating-point remainder)."""
    return np.random.RandomState(int(hash((seed, epoch, index)) % 1e6))


class WordDenoising(NextTokens):
    """Reconstruction of a text from its noised form with the head ``next-tokens`` (Chi et al. 2020, section 2.2).

    Args:
        noise: the noise function.
        without_first: whether the encoder input lacks the first token (xDAE's language symbol).
        start: what the decoder begins with where texts begin with no token of their own, as T5's; None: they do.
    """

    name = "word-denoising"

    def __init__(self, noise: WordNoise, *, without_first: bool = False, start: int | None = None) -> None:
        super().__init__()
        self.noise = noise
        self.without_first = without_first or start is not None
        self.start = start

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """Noised texts with the originals as targets.

        Raises:
            UserError: there is no text, or no generator.
        """
        if inputs.text is None or generator is None:
            raise UserError("word-denoising noises a text at random, so it needs inputs with a text and a generator")
        tokens = inputs.text if self.start is None else with_start(inputs.text, self.start)
        rng = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
        texts = self.noise.noised([part.tolist() for part in tokens.layout.split(tokens.ids)], rng)
        return super().prepare(denoised(tokens, texts, without_first=self.without_first))


def denoised(tokens: Tokens, noised: Sequence[Sequence[int]], *, without_first: bool = False) -> Inputs:
    """Inputs with noised texts, in the language of their first token, and the clean tokens as targets."""
    texts = [text[1:] if without_first else text for text in noised]
    languages = None
    if tokens.languages is not None:
        firsts = tokens.languages[tokens.layout.starts(tokens.ids.device)].tolist()
        languages = [[language] * len(text) for language, text in zip(firsts, texts, strict=True)]
    return Inputs(text=Tokens.of(texts, languages=languages).to(tokens.ids.device), target=tokens)


def _from_context(context: ObjectiveContext) -> WordDenoising:
    arguments = dict(context.arguments)
    without_first = bool(arguments.pop("without_first", False))
    noise, start = (
        WordNoise(context.specials.mask_id, **arguments),
        None if context.specials.opens else context.specials.start,
    )
    return WordDenoising(noise, without_first=without_first, start=start)


WORD_DENOISING = ObjectiveSpec(
    WordDenoising.name,
    "Chi et al. 2020, Cross-Lingual Natural Language Generation via Pre-Training, AAAI, section 2.2",
    _from_context,
    needs=(TEXTS,),
    streams=("target",),
    arguments=("shuffle", "drop", "blank", "without_first"),
)
