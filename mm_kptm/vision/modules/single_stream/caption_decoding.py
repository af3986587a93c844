"""Writing a caption with a model that fills in [MASK]: always the best word, or the best of several hypotheses (VLP).

At each place the words so far and one [MASK] are read, and the state of the [MASK] says the next word.

Shapes: B images, K hypotheses an image, S words written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, OutputRows, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System

_ENDED = -10000.0  #: what going on behind the end costs

#: Gives ``[CLS] [SEP] words [MASK]`` of every text the segments and the visibility of a text that is being written.
Written = Callable[[Tokens], Tokens]


@dataclass(frozen=True)
class Captioning:
    """How captions begin and end, and how many words they have at most.

    Args:
        start: ids in front of the words, [CLS] and [SEP].
        mask: id of [MASK].
        stop: id that ends a caption, [SEP].
        max_length: words, ``stop`` among them.
        written: segments and visibility of the texts, for VLP
            :func:`~mm_kptm.vision.objectives.vlp.bidirectional_or_seq2seq`.

    Raises:
        UserError: no word may be written.
    """

    start: tuple[int, ...]
    mask: int
    stop: int
    max_length: int
    written: Written

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise UserError(f"a caption has at least one word, but max_length is {self.max_length}")


@dataclass(frozen=True, eq=False)
class Beams:
    """All hypotheses of a search, word by word, and the best of each image."""

    best: list[list[int]]  #: by image, up to and with ``stop``
    scores: Tensor  #: log-likelihood of every hypothesis after every word, [B, S, K]
    words: Tensor  #: the word that was written, [B, S, K]
    parents: Tensor  #: which hypothesis of the word before it goes on, [B, S, K]


@torch.no_grad()
def greedy_search(system: System, regions: Regions, captioning: Captioning) -> tuple[Tensor, Tensor]:
    """The best word at each place of every image's caption, [B, S], and its score (a logit), [B, S].

    Captions are as long as they may be; what stands behind ``stop`` is no part of them (:func:`cut`).
    """
    count = len(regions.layout)
    texts: list[list[int]] = [[] for _ in range(count)]
    scores = []
    for _ in range(captioning.max_length):
        best = _next(system, regions, texts, torch.arange(count), captioning).max(dim=1)
        scores.append(best.values)
        for text, word in zip(texts, best.indices.tolist(), strict=True):
            text.append(word)
    return torch.tensor(texts, device=regions.features.device), torch.stack(scores, dim=1)


@torch.no_grad()
def beam_search(
    system: System, regions: Regions, captioning: Captioning, *, width: int, length_penalty: float = 0.0
) -> Beams:
    """The hypotheses of a beam search and the best caption of every image (Zhou et al. 2020, released code).

    A caption that ends, or that is as long as it may be, scores its log-likelihood plus ``length_penalty`` times its
    number of words. An ended hypothesis goes on at a cost that lets none of its continuations win. Captions that end
    after all hypotheses have ended at once do not count.

    Args:
        system: with the head masked-tokens.
        regions: of the images.
        captioning: how captions begin and end.
        width: hypotheses kept of every image, K.
        length_penalty: above 0 favours long captions.

    Raises:
        UserError: ``width`` is no number of hypotheses, or larger than the vocabulary.
    """
    if width < 1:
        raise UserError(f"a beam holds at least one hypothesis, not {width}")
    count = len(regions.layout)
    device = regions.features.device
    texts: list[list[int]] = [[] for _ in range(count)]
    totals = torch.zeros(count, 1, device=device)
    ended = torch.zeros(count, 1, dtype=torch.bool, device=device)
    frames = []
    for _ in range(captioning.max_length):
        alive = totals.shape[1]
        images = torch.arange(count).repeat_interleave(alive)
        scores = _next(system, regions, texts, images, captioning).log_softmax(1)
        if scores.shape[1] < width:
            raise UserError(f"a beam of {width} hypotheses begins with as many words, but there are {scores.shape[1]}")
        found = scores.view(count, alive, -1).topk(width)  # each goes on with its own best words
        grown = found.values + (totals + ended * _ENDED)[..., None]
        totals, places = grown.flatten(1).topk(width)
        parents, words = places // width, found.indices.flatten(1).gather(1, places)
        ended = words == captioning.stop
        frames.append((totals, words, parents))
        rows = zip(parents.tolist(), words.tolist(), strict=True)
        texts = [
            [*texts[image * alive + parent], word]
            for image, (up, new) in enumerate(rows)
            for parent, word in zip(up, new, strict=True)
        ]
    scores, words, parents = (torch.stack(part, dim=1) for part in zip(*frames, strict=True))
    return Beams(_chosen(scores, words, parents, captioning.stop, length_penalty), scores, words, parents)


def cut(ids: list[int], stop: int) -> list[int]:
    """A caption without its end and what stands behind it."""
    return ids[: ids.index(stop)] if stop in ids else ids


def _next(system: System, regions: Regions, texts: list[list[int]], images: Tensor, captioning: Captioning) -> Tensor:
    """The score of every word behind every text, [texts, V]."""
    device = regions.features.device
    tokens = Tokens.of([[*captioning.start, *text, captioning.mask] for text in texts]).to(device)
    lasts = tokens.layout.cu_seqlens(device)[1:].long() - 1
    inputs = Inputs(text=captioning.written(tokens), regions=regions, image_of=images.to(device))
    states = system(inputs, OutputRows({"text": lasts}, pooled=False)).text
    scores: Tensor = system.head("masked-tokens")(states)
    return scores


def _chosen(scores: Tensor, words: Tensor, parents: Tensor, stop: int, length_penalty: float) -> list[list[int]]:
    """The best caption of every image."""
    best = []
    for image in range(len(scores)):
        over = (words[image] == stop).all(1).nonzero().flatten().tolist()
        last = over[0] if over else words.shape[1] - 1
        may = words[image, : last + 1] == stop
        may[last] = True
        lengths = torch.arange(1, last + 2, device=scores.device)[:, None]
        worth = (scores[image, : last + 1] + length_penalty * lengths).masked_fill(~may, float("-inf"))
        place, hypothesis = divmod(int(worth.argmax()), worth.shape[1])
        text: list[int] = []
        for step in range(place, -1, -1):
            text.insert(0, int(words[image, step, hypothesis]))
            hypothesis = int(parents[image, step, hypothesis])
        best.append(text)
    return best
