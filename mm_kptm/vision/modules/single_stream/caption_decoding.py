"""Caption generation with a masked language model: greedy and beam search (VLP).

At each step the model encodes the words so far and one [MASK], whose state predicts the next word.

Shapes: B images, K hypotheses per image, S generated words, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.batch import Inputs, OutputRows, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System

_ENDED = -10000.0  #: score of continuing a finished caption

#: Sets the segments and the attention mask of a partial caption ``[CLS] [SEP] words [MASK]``.
Written = Callable[[Tokens], Tokens]


@dataclass(frozen=True)
class Captioning:
    """Caption-generation settings: special tokens and maximum length.

    Args:
        start: ids before the words, [CLS] and [SEP].
        mask: id of [MASK].
        stop: id that ends a caption, [SEP].
        max_length: maximum number of words, ``stop`` included.
        written: segments and attention mask of the texts, for VLP
            :func:`~mm_kptm.vision.objectives.vlp.bidirectional_or_seq2seq`.
        tags: ids that stand behind every partial caption, by image, as segment 1: the names of its objects (Oscar).
        tag_position: position of the first of them, behind the longest caption.

    Raises:
        UserError: ``max_length`` is below 1.
    """

    start: tuple[int, ...]
    mask: int
    stop: int
    max_length: int
    written: Written
    tags: tuple[tuple[int, ...], ...] | None = None
    tag_position: int = 40

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise UserError(f"a caption has at least one word, but max_length is {self.max_length}")


@dataclass(frozen=True, eq=False)
class Beams:
    """Result of a beam search: all hypotheses by step, and the best caption of each image."""

    best: list[list[int]]  #: by image, up to ``stop`` (included)
    scores: Tensor  #: log-likelihood of every hypothesis after every word, [B, S, K]
    words: Tensor  #: the generated word, [B, S, K]
    parents: Tensor  #: index of the hypothesis that it extends, [B, S, K]


@torch.no_grad()
def greedy_search(system: System, regions: Regions, captioning: Captioning) -> tuple[Tensor, Tensor]:
    """Greedy decoding: the words of every caption, [B, S], and their logits, [B, S].

    All captions have the maximum length; :func:`cut` removes what follows ``stop``.
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
    """Beam search for captions (Zhou et al. 2020, released code).

    A finished caption, or one of maximum length, scores its log-likelihood plus ``length_penalty`` times its number of
    words. A finished hypothesis is continued at a prohibitive cost. Captions that finish after a step at which all
    hypotheses had finished are ignored.

    Args:
        system: with the head masked-tokens.
        regions: of the images.
        captioning: special tokens and maximum length.
        width: beam size, K.
        length_penalty: above 0 favours long captions.

    Raises:
        UserError: ``width`` is below 1, or larger than the vocabulary.
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
        found = scores.view(count, alive, -1).topk(width)  # each is extended by its best words
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
    """A caption up to, but without, ``stop``."""
    return ids[: ids.index(stop)] if stop in ids else ids


def _next(system: System, regions: Regions, texts: list[list[int]], images: Tensor, captioning: Captioning) -> Tensor:
    """Logits of the next word of every text, [texts, V]."""
    device = regions.features.device
    partial = [[*captioning.start, *text, captioning.mask] for text in texts]
    tokens = _with_tags(partial, images.tolist(), captioning).to(device)
    ends = torch.tensor([len(text) - 1 for text in partial], device=device)
    inputs = Inputs(text=captioning.written(tokens), regions=regions, image_of=images.to(device))
    states = system(inputs, OutputRows({"text": tokens.layout.starts(device) + ends}, pooled=False)).text
    scores: Tensor = system.head("masked-tokens")(states)
    return scores


def _with_tags(partial: list[list[int]], images: list[int], captioning: Captioning) -> Tokens:
    """Partial captions, each followed by the tags of its image."""
    if captioning.tags is None:
        return Tokens.of(partial)
    tags = [captioning.tags[image] for image in images]
    first = captioning.tag_position
    return Tokens.of(
        [[*text, *names] for text, names in zip(partial, tags, strict=True)],
        positions=[
            [*range(len(text)), *range(first, first + len(names))] for text, names in zip(partial, tags, strict=True)
        ],
        segments=[[0] * len(text) + [1] * len(names) for text, names in zip(partial, tags, strict=True)],
    )


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
