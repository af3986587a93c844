"""What is known of an example beside its inputs: id, type, language and group."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """What is known of a question beside what a model sees."""

    id: str
    type: str
    language: str
    group: str  #: what it shares with questions that are not independent of it: the scene or the world
    target: str  #: the expected answer
    given_answers: tuple[str, ...] = ()  #: what ten people answered, where they were asked
    factual_answer: str | None = None  #: the answer by the true facts, where others were told
