"""Null arms: ablations that remove the image or the facts, or replace them by uninformative ones.

The effect of vision or of knowledge is the difference from these arms: a model that answers as well without the
image never used it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mm_kptm import config
from mm_kptm.config.document import Plain
from mm_kptm.crosslingual.objectives.translation_language_modeling import (
    MIXED_DOCUMENTS,
    TRANSLATIONS,
    TranslationLanguageModeling,
)
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment, KnowledgeSettings
from mm_kptm.objectives.next_tokens import TARGETS
from mm_kptm.objectives.spec import find_objective
from mm_kptm.objectives.tokens import MaskedTokens
from mm_kptm.tasks.protocol import find

BLIND: tuple[Literal["blank", "shuffled"], ...] = ("blank", "shuffled")  #: replacements for the true images
PARALLEL = {TRANSLATIONS, TARGETS, MIXED_DOCUMENTS}  #: needs of objectives on translations
NULL_FACTS: tuple[Literal["none", "random"], ...] = ("none", "random")  #: replacements for the true facts


@dataclass(frozen=True)
class ExperimentArm:
    """Experiment with its arm name in a comparison."""

    name: str
    settings: Experiment
    null: bool = False


def arms_of(experiments: Sequence[Experiment], *, nulls: bool) -> tuple[ExperimentArm, ...]:
    """The experiments as arms, each followed by its null arms that are not yet among the arms.

    Raises:
        UserError: no experiment, one without a task, duplicate names, or two that differ only in name and seed.
    """
    if not experiments:
        raise UserError("a comparison was asked for without an experiment; name one or more experiment files")
    known: dict[str, str] = {}  # name by identity of the arm
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
    """Iterate over (suffix, experiment) of the null arms: without images, facts or translations, or with wrong ones."""
    mask = settings.task is not None and "regions" in find(settings.task).needs
    if mask and getattr(settings.data, "vision", None) == "true":  # datasets that support blind images have this key
        for vision in BLIND:
            yield f"{vision}-vision", replace(settings, data=replace(settings.data, vision=vision))
    if (way := settings.knowledge.way) is not None and settings.knowledge.given not in NULL_FACTS:
        for facts in NULL_FACTS:
            if facts not in way.facts:
                continue
            knowledge = replace(settings.knowledge, facts=facts)
            yield f"{'no' if facts == 'none' else facts}-facts", replace(settings, knowledge=knowledge)
    yield from _without_translations(settings)


def _without_translations(settings: Experiment) -> Iterator[tuple[str, Experiment]]:
    """The null arms of objectives on translations: none of these objectives, and translations of other sentences."""
    key = "data" if settings.objective_data is None else "objective_data"
    data = getattr(settings, key)
    parallel = {name for name in settings.objectives if PARALLEL & set(find_objective(name).needs)}
    if not parallel or getattr(data, "alignment", None) != "true":
        return
    yield "shuffled-translations", replace(settings, **{key: replace(data, alignment="shuffled")})
    alone = {name: weight for name, weight in settings.objectives.items() if name not in parallel}
    if not alone and parallel == {TranslationLanguageModeling.name}:  # of sentences by themselves, this is MLM
        alone = {MaskedTokens.name: settings.objectives[TranslationLanguageModeling.name]}
    if alone:
        arguments = {name: given for name, given in settings.objective_arguments.items() if name in alone}
        yield "no-translations", replace(settings, objectives=alone, objective_arguments=arguments)


def _essence(settings: Experiment) -> str:
    """Identity of an arm: its settings except name, folder and seed; knowledge without facts or modules is ``none``."""
    bare = KnowledgeSettings("none", "none")
    knowledge = bare if _adds_nothing(settings.knowledge) else settings.knowledge
    train = replace(settings.train, seed=0)
    stripped: dict[str, Plain] = config.leaves(replace(settings, knowledge=knowledge, train=train, factors={}))
    return repr(sorted((key, repr(value)) for key, value in stripped.items() if key not in ("name", "out")))


def _adds_nothing(knowledge: KnowledgeSettings) -> bool:
    """Whether the settings inject no facts and add no modules."""
    return knowledge.given == "none" and (knowledge.way is None or not knowledge.way.adds_parts)
