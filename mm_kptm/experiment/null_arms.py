"""Null arms: the same experiment with what it claims to use taken away, or exchanged for something empty.

An effect of vision or of knowledge is what is left when these have been subtracted: a model that answers as well
without the picture never used it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mm_kptm import config
from mm_kptm.config.document import Plain
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment, KnowledgeSettings
from mm_kptm.tasks.protocol import find

BLIND: tuple[Literal["blank", "shuffled"], ...] = ("blank", "shuffled")  #: what may stand in the place of true pictures
NULL_FACTS: tuple[Literal["none", "random"], ...] = ("none", "random")  #: and of true facts


@dataclass(frozen=True)
class ExperimentArm:
    """An experiment under the name it bears in a comparison."""

    name: str
    settings: Experiment
    null: bool = False


def arms_of(experiments: Sequence[Experiment], *, nulls: bool) -> tuple[ExperimentArm, ...]:
    """The experiments as arms and, behind them, those of their null arms that are no arm yet.

    Raises:
        UserError: no experiment, one without a task, two of one name, or two that differ in name and seed alone.
    """
    if not experiments:
        raise UserError("a comparison was asked for without an experiment; name one or more experiment files")
    known: dict[str, str] = {}  # what an arm is, and its name
    arms: list[ExperimentArm] = []
    for settings in experiments:
        if settings.task is None:
            raise UserError(f"{settings.name} has no task, so there is nothing that its arms could be compared by")
        if any(arm.name == settings.name for arm in arms):
            raise UserError(f"two experiments are called {settings.name}; give them different names")
        if (same := known.setdefault(_essence(settings), settings.name)) != settings.name:
            raise UserError(f"{same} and {settings.name} are the same experiment; seeds are added by themselves")
        arms.append(ExperimentArm(settings.name, settings))
    if not nulls:
        return tuple(arms)
    for settings in experiments:
        for suffix, changed in nulls_of(settings):
            name = f"{settings.name}-{suffix}"
            if any(arm.name == name for arm in arms):
                raise UserError(f"{name} is the name of a null arm of {settings.name}; call the experiment otherwise")
            if known.setdefault(_essence(changed), name) == name:
                arms.append(ExperimentArm(name, replace(changed, name=name), null=True))
    return tuple(arms)


def nulls_of(settings: Experiment) -> Iterator[tuple[str, Experiment]]:
    """What an experiment becomes when its pictures, or its facts, are taken away or made up, and a word for each."""
    mask = settings.task is not None and "regions" in find(settings.task).needs
    if mask and getattr(settings.data, "vision", None) == "true":  # data that can be shown blindly say so by this key
        for vision in BLIND:
            yield f"{vision}-vision", replace(settings, data=replace(settings.data, vision=vision))
    if (way := settings.knowledge.way) is not None and settings.knowledge.given not in NULL_FACTS:
        for facts in NULL_FACTS:
            if facts not in way.facts:
                continue
            knowledge = replace(settings.knowledge, facts=facts)
            yield f"{'no' if facts == 'none' else facts}-facts", replace(settings, knowledge=knowledge)


def _essence(settings: Experiment) -> str:
    """What an arm is, but for its name, its place and its seed; a tree without facts is no tree, and so on."""
    bare = KnowledgeSettings("none", "none")
    knowledge = bare if _adds_nothing(settings.knowledge) else settings.knowledge
    train = replace(settings.train, seed=0)
    stripped: dict[str, Plain] = config.leaves(replace(settings, knowledge=knowledge, train=train))
    return repr(sorted((key, repr(value)) for key, value in stripped.items() if key not in ("name", "out")))


def _adds_nothing(knowledge: KnowledgeSettings) -> bool:
    """Whether a model is neither given facts nor parts for them."""
    return knowledge.given == "none" and (knowledge.way is None or not knowledge.way.adds_parts)
