"""What people see of an example of Number World: scene, names of its numbers, question and injected facts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mm_kptm.datasets.illustration import Illustration
from mm_kptm.report.gallery import Fact
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion
from mm_kptm.suites.number_world.generator.language import words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import Scenes

_OVER_ALL = frozenset({"count", "count-colour", "exists", "exists-coloured", "compare", "beside"})
"""Types of questions whose answer no single region decides."""


def illustrated_scene(scenes: Scenes, number: int, language: str) -> Illustration:
    """A scene with the colour and value of every number."""
    names = [f"{surface('colour:' + thing.colour, language)} {thing.value}" for thing in scenes.things(number)]
    return Illustration(pixels=scenes.image(number), regions=tuple(names))


def illustrated_question(scenes: Scenes, asked: Sequence[Question], index: int) -> Illustration:
    """A question about a scene, with the facts that are injected."""
    question = asked[index]
    scene = illustrated_scene(scenes, question.scene, question.language)
    return Illustration(
        question.sentence,
        scene.pixels,
        scene.regions,
        None if question.type in _OVER_ALL else question.subject,
        _facts(question),
        partial(_worded, language=question.language),
    )


def _worded(label: str, *, language: str) -> str:
    return surface(label, language)


def _facts(question: Question) -> tuple[Fact, ...]:
    """Injected facts, with ``used`` set for the one that the question needs."""
    if not isinstance(question, FactQuestion):
        return ()
    language = question.facts_language
    needed = (
        words(name(question.number, language), language)[0],
        words(RELATION_WORDS[language][question.relation], language)[0],
    )
    return tuple(
        Fact(subject, relation, object, used=(subject, relation) == needed)
        for subject, (relation, object) in (
            (question.words[branch.anchor], branch.words) for branch in question.branches
        )
    )
