"""The facts of Number World as vectors of entities, for encoders that mix them with the tokens that name them.

An entity is what is told about one number: its vector is the sum of the codes of its facts, a code being as many signs
drawn once for the words of a fact. It is what an embedding of the graph that forgets nothing would hold; nothing about
it is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.data.packing import Packed
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.tasks.vision.vqa import QuestionSource

WIDTH = 64  #: of an entity vector
BASE = "numbers"  #: what the knowledge base is called, where entities are candidates of mentions

Facts = tuple[tuple[str, ...], ...]


def without_facts(asked: Iterable[Question]) -> list[Question]:
    """The questions without branches: the names stay, what is told of them goes."""
    return [replace(question, branches=()) for question in asked]


def linked(source: QuestionSource, asked: Sequence[Question], *, base: str | None = None) -> QuestionSource:
    """The source of :func:`untold` questions with an entity at every name that carried facts.

    Names of numbers are unambiguous: where the entities are those of a knowledge ``base``, each is the only candidate.
    """
    texts = source.shown.texts
    known: dict[Facts, int] = {}
    column = np.zeros(int(texts.offsets[-1]), np.int64)
    for question, first in zip(asked, texts.offsets[:-1].tolist(), strict=True):
        for place, facts in _told(question).items():
            column[first + 1 + place] = known.setdefault(facts, len(known) + 1)  # behind the start token
    vectors = np.stack([np.zeros(WIDTH, np.float32), *(_vector(facts) for facts in known)])
    shown = replace(
        source.shown,
        texts=Packed(texts.offsets, {**texts.columns, "entities": column}),
        entities=torch.from_numpy(vectors),
        base=base,
    )
    return replace(source, shown=shown)


def _told(question: Question) -> dict[int, Facts]:
    """What is told at which word; the order of facts says nothing."""
    told: dict[int, list[tuple[str, ...]]] = {}
    for branch in question.branches:
        told.setdefault(branch.anchor, []).append(branch.words)
    return {place: tuple(sorted(facts)) for place, facts in told.items()}


def _vector(facts: Facts) -> NDArray[np.float32]:
    return np.sum([_code(fact) for fact in facts], axis=0, dtype=np.float32)


@cache
def _code(fact: tuple[str, ...]) -> NDArray[np.float32]:
    """Signs that follow from the words alone, [WIDTH]."""
    return (RandomStream(0, "fact", *fact).words(WIDTH) % 2 * 2 - 1).astype(np.float32)
