"""Controls of questions about flags that see a part of them: nothing, the question, the picture, the facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

from mm_kptm.suites.atlas.datasets.flag_questions import FlagQuestion


def controls(train: Sequence[FlagQuestion], test: Sequence[FlagQuestion], answers: int) -> dict[str, float]:
    """Accuracy of rules that are learnt by counting.

    ``chance``: of all answers; ``majority``: the usual answer; ``question-only``: the usual one to the relation in
    the language; ``picture-only``: the usual one to the flag; ``facts-only``: one of the injected objects at random.
    """
    return {
        "chance": 1 / answers,
        "majority": _usual(train, test, lambda one: None),
        "question-only": _usual(train, test, lambda one: (one.relation, one.language)),
        "picture-only": _usual(train, test, lambda one: (one.country, one.relation)),
        **({"facts-only": _injected(test)} if any(any(one.all_injected) for one in test) else {}),
    }


def _usual(
    train: Sequence[FlagQuestion], test: Sequence[FlagQuestion], key: Callable[[FlagQuestion], Hashable]
) -> float:
    counts: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    for one in train:
        counts[key(one)][one.answer] += 1
    best = {seen: min(counter, key=lambda label: (-counter[label], label)) for seen, counter in counts.items()}
    return sum(best.get(key(one)) == one.answer for one in test) / len(test)


def _injected(test: Sequence[FlagQuestion]) -> float:
    shares = []
    for one in test:
        injected = [fact for fact in one.all_injected if fact is not None]
        shares.append(injected.count(one.answer) / len(injected) if injected else 0.0)
    return sum(shares) / len(shares)
