"""Every system answers as the official code did, tensor by tensor.

A system's comparisons live in ``systems/<system>.py`` (dashes as underscores): ``CASES`` maps a kind of case to a
function that drives the public surface and returns an :class:`~tests.golden.case.Answer` for every official output.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch

from tests.golden.case import Answer, Case, compare

Answers = dict[str, Answer] | tuple[dict[str, Answer], dict[str, Any]]


def test_system_answers_as_official_code(case: Case) -> None:
    module = importlib.import_module(f"tests.golden.systems.{case.system.replace('-', '_')}")
    comparisons: dict[str, Callable[[Case], Answers]] = module.CASES
    assert case.kind in comparisons, f"no comparison for {case.system}/{case.kind}; there are {sorted(comparisons)}"
    with torch.no_grad():
        answered = comparisons[case.kind](case)
    # a data case has its truth in JSON files; its comparison returns it beside the answers
    answers, theirs = answered if isinstance(answered, tuple) else (answered, case.outputs)
    assert theirs, f"{case.system}/{case.name} has no official outputs"
    assert answers.keys() == theirs.keys(), f"compared and official outputs differ: {answers.keys() ^ theirs.keys()}"
    for name, truth in theirs.items():
        compare(name, answers[name], truth)
