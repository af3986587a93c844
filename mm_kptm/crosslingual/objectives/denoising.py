"""mBART's denoising: text infilling and sentence permutation, reconstructed by the decoder.

Shapes: T rows, B texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import Continuation, NextTokens, with_start
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec

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


LANGUAGE_CODES = "a token for every language"


class FramedDenoising(Denoising):
    """Denoising of texts framed as ``[start] X </s>``: the code of their language, or the start token, ends them.

    Args:
        noise: the noise function.
        codes: token of every language, by language id; None: texts end with their own first token.
        opens: whether texts begin with a token of their own.
    """

    def __init__(self, noise: Infilling, codes: Sequence[int] | None = None, *, opens: bool = True) -> None:
        super().__init__(noise)
        if codes is None and not opens:
            raise UserError(
                f"{self.name} ends a text with the code of its language or with its first token, but this tokenizer "
                "begins a text with no token and has no codes; span-corruption is the objective of such systems"
            )
        self.codes = codes
        self.opens = opens

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Continuation:
        """Move the first token behind the text, replace it by the code, and noise the text.

        Raises:
            UserError: there is no text, or no generator; or codes are used and texts have no language.
        """
        tokens = inputs.text
        if tokens is None:
            return super().prepare(inputs, generator)
        if not self.opens:
            tokens = with_start(tokens, 0)  # the code takes its place
        starts = tokens.layout.starts(tokens.ids.device)
        firsts, spoken = tokens.ids[starts], None if tokens.languages is None else tokens.languages[starts]
        if self.codes is not None:
            if spoken is None:
                raise UserError(f"{self.name} ends a text with the code of its language, but the texts have none")
            firsts = torch.tensor(self.codes)[spoken]
        order = torch.arange(tokens.rows) + 1
        order[starts + torch.tensor(tokens.layout.lengths) - 1] = starts
        ids = tokens.ids[order]
        ids[starts + torch.tensor(tokens.layout.lengths) - 1] = firsts
        groups = None if tokens.mask_groups is None else tokens.mask_groups[order]
        moved = replace(tokens, ids=ids, mask_groups=groups, token_labels=None)
        batch = super().prepare(inputs.with_streams(text=moved), generator)
        text, target = batch.inputs.text, batch.inputs.target
        if spoken is None or text is None or target is None:
            return batch
        shown = {
            name: replace(side, languages=spoken[side.layout.sequence_ids(side.ids.device)])
            for name, side in (("text", text), ("target", target))
        }
        return replace(batch, inputs=batch.inputs.with_streams(**shown))


def _from_context(context: ObjectiveContext) -> FramedDenoising:
    noise = Infilling(context.specials.mask_id, context.specials.stop, **context.arguments)
    codes = context.offered(LANGUAGE_CODES) if LANGUAGE_CODES in context.offers.has else None
    return FramedDenoising(noise, codes, opens=context.specials.opens)


DENOISING = ObjectiveSpec(
    Denoising.name,
    "Liu et al. 2020, Multilingual Denoising Pre-training for Neural Machine Translation, TACL, section 2.3",
    _from_context,
    needs=(TEXTS,),
    streams=("target",),
    arguments=("share", "mean_length", "permute"),
)
