"""What can be scored without doing the task: the numbers to print beside every table.

Each baseline is the best guess of somebody who sees only part of an example; it learns from the training questions and
predicts a label for every test question.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion, told_objects
from mm_kptm.suites.number_world.generator.lexicon import answers, surface
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import Scenes, Thing


def accuracy(predicted: Sequence[str], questions: Sequence[Question]) -> float:
    """The share of questions whose answer is the label predicted."""
    if not questions:
        raise UserError("an accuracy was asked for over no questions; it needs one at least")
    return sum(label == question.answer.label for label, question in zip(predicted, questions, strict=True)) / len(
        questions
    )


def chance(train: Sequence[Question], test: Sequence[Question]) -> float:
    """The accuracy expected of a uniform guess among the answers that training gave to questions of the same type."""
    options: dict[str, set[str]] = defaultdict(set)
    for question in train:
        options[question.type].add(question.answer.label)
    hits = (
        1 / len(options[question.type]) if question.answer.label in options[question.type] else 0.0 for question in test
    )
    return sum(hits) / len(test)


def majority(train: Sequence[Question], test: Sequence[Question]) -> tuple[str, ...]:
    """Always the most frequent answer."""
    usual = _usual(question.answer.label for question in train)
    return (usual,) * len(test)


def question_only(train: Sequence[Question], test: Sequence[Question]) -> tuple[str, ...]:
    """The most frequent answer to the same sentence; to its type where the sentence is new, and then to anything."""
    keys: tuple[Callable[[Question], str], ...] = (lambda q: f"{q.language} {q.sentence}", lambda q: q.type)
    tables = []
    for key in keys:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for question in train:
            counts[key(question)][question.answer.label] += 1
        tables.append({name: _first(counter) for name, counter in counts.items()})
    usual = _usual(question.answer.label for question in train)
    by_sentence, by_type = tables
    return tuple(by_sentence.get(keys[0](question), by_type.get(keys[1](question), usual)) for question in test)


def image_only(
    train: Sequence[Question], train_scenes: Scenes, test: Sequence[Question], test_scenes: Scenes
) -> tuple[str, ...]:
    """The likeliest answer for somebody who reads the scene perfectly but not the question.

    Answers are seen by the part they play (*a number that is there*, *how many there are*, *yes*); training
    says how often each part is the answer, the scene which labels play it.
    """
    roles: Counter[str] = Counter()
    for question in train:
        roles[_role(question.answer.label, train_scenes.things(question.scene))] += 1
    alone = [role for role in roles if not role.startswith("the ")]  # labels that need nothing in the scene
    predicted = []
    for question in test:
        things = test_scenes.things(question.scene)
        candidates = sorted({*alone, *(f"number:{t.value}" for t in things), *(f"colour:{t.colour}" for t in things)})
        candidates.append(f"count:{len(things)}")
        weights = {label: roles[_role(label, things)] * _share(label, things) for label in candidates}
        predicted.append(max(candidates, key=lambda label: weights[label]))
    return tuple(predicted)


def facts_only(test: Sequence[FactQuestion]) -> tuple[str, ...]:
    """The commonest of the objects told for the asked relation, by somebody who sees the question but not the scene.

    Where no facts are told the guess is the empty label, which is always wrong.
    """
    predicted = []
    for question in test:
        objects = told_objects(question)
        predicted.append(_label_of(question.facts_language).get(_usual(objects), "") if objects else "")
    return tuple(predicted)


@cache
def _label_of(language: str) -> dict[str, str]:
    """The label of a word on a branch, where it is no number; a number's own name is the last resort."""
    return {surface(label, language).lower(): label for label in reversed(answers()) if not label.startswith("count:")}


def _role(label: str, things: Sequence[Thing]) -> str:
    """The part a label plays as the answer about a scene."""
    kind, _, value = label.partition(":")
    if kind == "number" and any(str(thing.value) == value for thing in things):
        return "the number of a thing"
    if kind == "colour" and any(thing.colour == value for thing in things):
        return "the colour of a thing"
    if kind == "count" and value == str(len(things)):
        return "the count of things"
    return label


def _share(label: str, things: Sequence[Thing]) -> float:
    """How likely a label is among those that play the same part in the scene."""
    kind, _, value = label.partition(":")
    if kind == "number" and any(str(thing.value) == value for thing in things):
        return 1 / len(things)
    if kind == "colour" and any(thing.colour == value for thing in things):
        return sum(thing.colour == value for thing in things) / len(things)
    return 1.0


def _usual(labels: Iterable[str]) -> str:
    return _first(Counter(labels))


def _first(counter: Counter[str]) -> str:
    """The most frequent; among equals the first in alphabetical order."""
    return min(counter, key=lambda label: (-counter[label], label))
