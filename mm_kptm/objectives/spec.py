"""Objectives as experiment files name them: what each needs of data and how it is built, found by one walk.

An :class:`ObjectiveSpec` stands beside the class that it builds, in any package called ``objectives`` or in a module
that an installed plug-in names in the entry point group ``mm_kptm.objectives``. A data set says what it has by
:class:`Offers`; needs are noun phrases, so that a refusal reads as a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError, nearest
from mm_kptm.objectives.mixture import Objective
from mm_kptm.systems.discovery import by_name, instances
from mm_kptm.systems.recipe import Recipe

TEXTS = "texts"
DOCUMENTS = "documents of several sentences"
REGIONS = "image regions"
LANGUAGE_IDS = "the language of every token"  #: needed by any objective of a system that reads languages


@dataclass(frozen=True)
class Offers:
    """What a data set has for objectives.

    Args:
        data: name of the data set.
        has: what it offers, by need; the value is called where an objective is built with what was read (a lexicon, the
            labels of pairs), and None where being there is all.
        remedies: what would add a need that it lacks, such as ``name data.similar``.
        remedy: the same for every other need.
        variants: how it builds some objectives by itself, by name.
    """

    data: str
    has: Mapping[str, Callable[[], Any] | None]
    remedies: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, Callable[[ObjectiveContext], Objective]] = field(default_factory=dict)
    remedy: str = ""


@dataclass(frozen=True)
class ObjectiveContext:
    """Everything that an objective may be built from.

    Args:
        specials: ids of the tokens that stand for no text.
        vocab_size: ids of the tokenizer.
        offers: of the data.
        mask_rate: share of tokens that are hidden.
        recipe: of the system that is trained.
        arguments: what the recipe was published with for this objective.
    """

    specials: Specials
    vocab_size: int
    offers: Offers
    mask_rate: float = 0.15
    recipe: Recipe | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def offered(self, need: str) -> Any:
        """What the data read for a need, None where being there is all."""
        read = self.offers.has[need]
        return None if read is None else read()


@dataclass(frozen=True)
class ObjectiveSpec:
    """An objective that experiment files may name.

    Args:
        name: as experiment files and recipes call it.
        paper: where it was published.
        build: the objective from its context.
        needs: what data must offer.
    """

    name: str
    paper: str
    build: Callable[[ObjectiveContext], Objective]
    needs: tuple[str, ...] = (TEXTS,)


@cache
def specs() -> dict[str, ObjectiveSpec]:
    """Every objective by name, in alphabetical order.

    Raises:
        UserError: two objectives share a name.
    """
    return by_name(instances(ObjectiveSpec, "objectives"), "objectives")


def find_objective(name: str) -> ObjectiveSpec:
    """The objective of that name.

    Raises:
        UserError: there is none; near names are listed.
    """
    known = specs()
    if name not in known:
        raise UserError(f"no objective is called {name!r}{nearest(name, known)}")
    return known[name]


def build_objectives(names: Iterable[str], context: ObjectiveContext) -> dict[str, Objective]:
    """The objectives of these names.

    Raises:
        UserError: a name is unknown, or the data lack what an objective needs.
    """
    return {name: _build(find_objective(name), context) for name in names}


def _build(spec: ObjectiveSpec, context: ObjectiveContext) -> Objective:
    offers = context.offers
    languages = (LANGUAGE_IDS,) if context.recipe is not None and "languages" in context.recipe.reads else ()
    for need in (*spec.needs, *languages):
        if need not in offers.has:
            remedy = offers.remedies.get(need, offers.remedy) or f"it has {', '.join(offers.has)}"
            raise UserError(f"{spec.name} needs {need}, which the data set {offers.data} does not have; {remedy}")
    published = {} if context.recipe is None else context.recipe.objective_arguments.get(spec.name, {})
    return offers.variants.get(spec.name, spec.build)(replace(context, arguments=published))
