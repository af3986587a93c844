"""Metadata of examples: id, type, language, group and target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """Metadata of an example, apart from its inputs."""

    id: str
    type: str
    language: str
    group: str  #: shared by dependent examples, such as all questions about one scene
    target: str  #: gold answer
    given_answers: tuple[str, ...] = ()  #: answers of the ten annotators, if any
    factual_answer: str | None = None  #: the answer by the true facts, where counterfactual ones are injected
