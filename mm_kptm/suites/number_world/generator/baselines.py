"""Model-free baselines, reported beside every table.

Each baseline is the best guess from a part of an example; it is fitted on the training questions and predicts a label
for every test question.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion, injected_objects
from mm_kptm.suites.number_world.generator.lexicon import answers, surface
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import Scenes, Thing


def accuracy(predicted: Sequence[str], questions: Sequence[Question]) -> float:
    """Share of questions whose gold label is predicted."""
    if not questions:
        raise UserError("an accuracy was asked for over no questions; it needs one at least")
    return sum(label == question.answer.label for label, question in zip(predicted, questions, strict=True)) / len(
        questions
    )


def chance(train: Sequence[Question], test: Sequence[Question]) -> float:
    """Expected accuracy of a uniform guess among the training answers to questions of the same type."""
    options: dict[str, set[str]] = defaultdict(set)
    for question in train:
        options[question.type].add(question.answer.label)
    hits = (
        1 / len(options[question.type]) if question.answer.label in options[question.type] else 0.0 for question in test
    )
    return sum(hits) / len(test)


def majority(train: Sequence[Question], test: Sequence[Question]) -> tuple[str, ...]:
    """Predict the most frequent training answer."""
    usual = _usual(question.answer.label for question in train)
    return (usual,) * len(test)


def question_only(train: Sequence[Question], test: Sequence[Question]) -> tuple[str, ...]:
    """Predict the most frequent answer to the same sentence, else to the same type, else overall."""
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
    """Predict the likeliest answer from the scene without the question.

    Answers are grouped by role (*a number in the scene*, *the count*, *yes*): the frequency of a role comes from
    training, the labels of a role from the scene.
    """
    roles: Counter[str] = Counter()
    for question in train:
        roles[_role(question.answer.label, train_scenes.things(question.scene))] += 1
    alone = [role for role in roles if not role.startswith("the ")]  # labels that do not depend on the scene
    predicted = []
    for question in test:
        things = test_scenes.things(question.scene)
        candidates = sorted({*alone, *(f"number:{t.value}" for t in things), *(f"colour:{t.colour}" for t in things)})
        candidates.append(f"count:{len(things)}")
        weights = {label: roles[_role(label, things)] * _share(label, things) for label in candidates}
        predicted.append(max(candidates, key=lambda label: weights[label]))
    return tuple(predicted)


def facts_only(test: Sequence[FactQuestion]) -> tuple[str, ...]:
    """Predict the most frequent injected object of the asked relation, from question and facts without the scene.

    Without injected facts the prediction is the empty label, which is always wrong.
    """
    predicted = []
    for question in test:
        objects = injected_objects(question)
        predicted.append(_label_of(question.facts_language).get(_usual(objects), "") if objects else "")
    return tuple(predicted)


@cache
def _label_of(language: str) -> dict[str, str]:
    """Labels by word on a branch; other labels take precedence over number names."""
    return {surface(label, language).lower(): label for label in reversed(answers()) if not label.startswith("count:")}


def _role(label: str, things: Sequence[Thing]) -> str:
    """Role of a label as an answer about a scene."""
    kind, _, value = label.partition(":")
    if kind == "number" and any(str(thing.value) == value for thing in things):
        return "the number of a thing"
    if kind == "colour" and any(thing.colour == value for thing in things):
        return "the colour of a thing"
    if kind == "count" and value == str(len(things)):
        return "the count of things"
    return label


def _share(label: str, things: Sequence[Thing]) -> float:
    """Probability of a label among those of the same role in the scene."""
    kind, _, value = label.partition(":")
    if kind == "number" and any(str(thing.value) == value for thing in things):
        return 1 / len(things)
    if kind == "colour" and any(thing.colour == value for thing in things):
        return sum(thing.colour == value for thing in things) / len(things)
    return 1.0


def _usual(labels: Iterable[str]) -> str:
    return _first(Counter(labels))


def _first(counter: Counter[str]) -> str:
    """Most frequent key; ties go to the alphabetically first."""
    return min(counter, key=lambda label: (-counter[label], label))
