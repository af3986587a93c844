"""Questions of Number World as a person sees them, with the region and the fact that decide each answer."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.datasets.protocol import Illustration
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion
from mm_kptm.suites.number_world.generator.language import words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import Scenes

_OVER_ALL = frozenset({"count", "count-colour", "exists", "exists-coloured", "compare", "beside"})
"""Types whose answer no single region decides."""


def illustration(scenes: Scenes, questions: Sequence[Question], index: int) -> Illustration:
    """The scene of a question; questions over all regions, or two of them, have none that decides."""
    question = questions[index]
    things = scenes.things(question.scene)
    return Illustration(
        scenes.image(question.scene),
        tuple(f"{surface('colour:' + thing.colour, question.language)} {thing.value}" for thing in things),
        region=None if question.type in _OVER_ALL else question.subject,
        fact=needed_fact(question),
    )


def needed_fact(question: Question) -> tuple[str, str] | None:
    """The name that carries the fact that a question needs, and the word of its relation; None without facts."""
    if not isinstance(question, FactQuestion) or not question.branches:
        return None
    language = question.facts_language
    (carrier, *_), (relation, *_) = (
        words(name(question.number, language), language),
        words(RELATION_WORDS[language][question.relation], language),
    )
    return carrier, relation
