"""Number World's facts as entity vectors, for encoders that fuse them with the tokens of entity mentions.

An entity is the set of facts injected about one number. Its vector is the sum of the codes of its facts, where a code
is a random sign vector determined by the words of a fact: a lossless graph embedding without training.
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
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion
from mm_kptm.suites.number_world.generator.language import words
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import Scenes
from mm_kptm.tasks.vision.vqa import QuestionSource

WIDTH = 64  #: size of an entity vector
BASE = "numbers"  #: name of the knowledge base, where entities are mention candidates

Facts = tuple[tuple[str, ...], ...]


def without_facts(asked: Iterable[Question]) -> list[Question]:
    """Remove the injected facts of questions; the names remain."""
    return [replace(question, branches=()) for question in asked]


def linked(
    source: QuestionSource, asked: Sequence[Question], *, base: str | None = None, before: int = 1
) -> QuestionSource:
    """Add to a source of :func:`without_facts` questions an entity at every name that carried facts.

    Number names are unambiguous: with a knowledge ``base``, each entity is the only candidate of its mention.
    ``before`` special tokens precede the words of a question.
    """
    texts = source.shown.texts
    known: dict[Facts, int] = {}
    column = np.zeros(int(texts.offsets[-1]), np.int64)
    for question, first in zip(asked, texts.offsets[:-1].tolist(), strict=True):
        for index, facts in _facts_by_word(question).items():
            column[first + before + index] = known.setdefault(facts, len(known) + 1)
    vectors = np.stack([np.zeros(WIDTH, np.float32), *(_vector(facts) for facts in known)])
    shown = replace(
        source.shown,
        texts=Packed(texts.offsets, {**texts.columns, "entities": column}),
        entities=torch.from_numpy(vectors),
        base=base,
    )
    return replace(source, shown=shown)


def without_names(asked: Iterable[Question]) -> list[Question]:
    """Remove the names behind questions about facts, and the facts."""
    return [
        replace(question, words=words(question.sentence, question.language), branches=())
        if isinstance(question, FactQuestion)
        else replace(question, branches=())
        for question in asked
    ]


def linked_regions(source: QuestionSource, asked: Sequence[Question], scenes: Sequence[Scenes]) -> QuestionSource:
    """Add to a source of :func:`without_names` questions an entity at every region whose number facts are about.

    A region is linked to the entity of the number that it shows, as an entity linker over detected objects would do; of
    a picture without scenes nothing is linked.

    Args:
        source: questions about the scenes, one set after the other.
        asked: the questions with their facts.
        scenes: of each set.
    """
    pictures, about = source.shown.pictures, source.shown.about
    if pictures is None or about is None:
        raise TypeError("these questions have no scenes")
    values = np.concatenate([one.values for one in scenes])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(pictures.lengths)])
    blank = offsets[-1] != len(values)
    known: dict[Facts, int] = {}
    rows = []
    for question, image in zip(asked, about.tolist(), strict=True):
        shown = [-1] * int(pictures.lengths[image]) if blank else values[offsets[image] : offsets[image + 1]].tolist()
        facts = _facts_by_number(question)
        rows.append([known.setdefault(facts[value], len(known) + 1) if value in facts else 0 for value in shown])
    vectors = np.stack([np.zeros(WIDTH, np.float32), *(_vector(facts) for facts in known)])
    given = replace(source.shown, entities=torch.from_numpy(vectors), region_entities=Packed.of(entities=rows))
    return replace(source, shown=given)


def _facts_by_number(question: Question) -> dict[int, Facts]:
    """Injected facts by the number that they are about."""
    if not isinstance(question, FactQuestion):
        return {}
    first = len(question.words) - len(question.candidates)
    return {question.candidates[index - first]: facts for index, facts in _facts_by_word(question).items()}


def _facts_by_word(question: Question) -> dict[int, Facts]:
    """Injected facts by word index, sorted so that their order carries no information."""
    facts: dict[int, list[tuple[str, ...]]] = {}
    for branch in question.branches:
        facts.setdefault(branch.anchor, []).append(branch.words)
    return {index: tuple(sorted(of_word)) for index, of_word in facts.items()}


def _vector(facts: Facts) -> NDArray[np.float32]:
    return np.sum([_code(fact) for fact in facts], axis=0, dtype=np.float32)


@cache
def _code(fact: tuple[str, ...]) -> NDArray[np.float32]:
    """Sign vector determined by the words of a fact, [WIDTH]."""
    return (RandomStream(0, "fact", *fact).words(WIDTH) % 2 * 2 - 1).astype(np.float32)
