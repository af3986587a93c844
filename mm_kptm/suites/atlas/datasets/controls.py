"""Controls of retrieval that learn nothing: chance, the nearest drawing pixel by pixel, and the most similar string."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mm_kptm.suites.atlas.data.atlas import Atlas
from mm_kptm.suites.atlas.data.drawings import small
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import Side, named, split_side, train_concepts

RANKS = (1, 10)


@cache
def retrieval_controls(data: AtlasData, split: str) -> dict[str, float]:
    """Recall at 1 and 10 without a model.

    ``chance``: of a random order. ``pixel-nearest``: the concept of the training drawing that differs least in 24 x 24
    pixels; where concepts are held out it names none of them. ``string-overlap``: the concept whose name in a language
    of training shares most runs of three letters; for names in other languages.
    """
    side = split_side(data, split)
    said = named(data, side)
    if not said:
        return {}
    pool = len(said) / len(side.languages)
    found = {f"chance-recall@{rank}": min(1.0, rank / pool) for rank in RANKS}
    if set(side.concepts) <= set(train_concepts(data)) and side.style not in data.styles:
        ranks = pixel_ranks(data.atlas, side, data.styles)
        found |= {f"pixel-nearest-recall@{rank}": float((ranks <= rank).mean()) for rank in RANKS}
    if side.excludes:
        similar = string_ranks(data, side)
        found |= {f"string-overlap-recall@{rank}": float((similar <= rank).mean()) for rank in RANKS}
    return found


def pixel_ranks(atlas: Atlas, side: Side, styles: tuple[str, ...]) -> NDArray[np.int64]:
    """The rank of each concept of a side when candidates are ordered by their nearest drawing in some styles."""
    return _ranks(-pixel_distances(atlas, side.style, side.concepts, styles))


def nearest_concepts(atlas: Atlas, style: str, concepts: Sequence[int], styles: tuple[str, ...]) -> dict[int, int]:
    """For each concept in a style, the one whose drawing in some other styles differs least."""
    nearest = pixel_distances(atlas, style, concepts, styles).argmin(axis=1).tolist()
    return {one: concepts[place] for one, place in zip(concepts, nearest, strict=True)}


def pixel_distances(atlas: Atlas, style: str, concepts: Sequence[int], styles: tuple[str, ...]) -> NDArray[np.float32]:
    """Squared distance of every drawing in a style to the nearest one of every concept in some styles, [C, C]."""
    codes = [atlas.concepts[one].code for one in concepts]
    asked = drawn_small(atlas, style, codes)
    best = np.full((len(asked), len(codes)), np.inf, np.float32)
    for one in styles:
        rows = drawn_small(atlas, one, codes)
        squares = (asked**2).sum(1)[:, None] + (rows**2).sum(1)[None] - 2 * asked @ rows.T
        best = np.minimum(best, squares)
    return best


def string_ranks(data: AtlasData, side: Side) -> NDArray[np.int64]:
    """The rank of the concept of each name when candidates are ordered by the overlap of letters (Dice)."""
    grams: defaultdict[str, set[int]] = defaultdict(set)
    sizes = np.zeros((len(side.concepts), len(data.languages)), np.float32)
    places = {concept: place for place, concept in enumerate(side.concepts)}
    for column, language in enumerate(data.languages):
        for concept, place in places.items():
            pieces = trigrams(data.atlas.names[language][concept])
            sizes[place, column] = len(pieces)
            for piece in pieces:
                grams[piece].add(place * len(data.languages) + column)
    ranks = []
    for concept, _, name in named(data, side):
        pieces = trigrams(name)
        shared = np.zeros(sizes.size, np.float32)
        for piece in pieces:
            shared[list(grams.get(piece, ()))] += 1
        scores = (2 * shared.reshape(sizes.shape) / (sizes + len(pieces))).max(axis=1)
        mine = scores[places[concept]]
        ties = int((scores == mine).sum()) - 1
        ranks.append(1 + int((scores > mine).sum()) + ties // 2)
    return np.array(ranks, np.int64)


def trigrams(name: str) -> set[str]:
    """Runs of three letters of a name, with its ends.

    >>> sorted(trigrams("Tea"))
    [' te', 'ea ', 'tea']
    """
    framed = f" {name.casefold()} "
    return {framed[start : start + 3] for start in range(max(len(framed) - 2, 1))}


def drawn_small(atlas: Atlas, style: str, codes: Sequence[str]) -> NDArray[np.float32]:
    """Drawings of concepts in few pixels, their means removed, [N, 1728]."""
    place = atlas.place(style)
    return small(atlas.pixels(style)[[place[code] for code in codes]])


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    own = np.diagonal(scores)[:, None]
    return (scores >= own).sum(axis=1).astype(np.int64)
