"""Objectives by the names of experiment files: what each needs of the data and how it is built.

An :class:`ObjectiveSpec` is defined beside the class that it builds, in any package called ``objectives`` or a module
that an installed plug-in names in the entry point group ``mm_kptm.objectives``. A dataset declares what it has by
:class:`Offers`; needs are noun phrases, so that they fit into error messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError, nearest
from mm_kptm.objectives.mixture import Objective
from mm_kptm.systems.discovery import by_name, discovered, instances
from mm_kptm.systems.recipe import Recipe

TEXTS = "texts"
DOCUMENTS = "documents of several sentences"
REGIONS = "image regions"
REGION_FEATURES = "stored features of image regions"  #: which pixels have only inside a model
LANGUAGE_IDS = "the language of every token"  #: needed by any objective of a system that reads languages


@dataclass(frozen=True)
class Offers:
    """What a dataset offers to objectives.

    Args:
        data: name of the dataset.
        has: offers by need; the value loads what an objective is built with (a lexicon, the labels of pairs), None for
            needs without a value.
        remedies: advice on how to add a missing need, such as ``name data.similar``, by need.
        remedy: advice for every other need.
        variants: the dataset's own builders of some objectives, by name.
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
        specials: ids of the special tokens.
        vocab_size: vocabulary size of the tokenizer.
        offers: what the dataset offers.
        mask_rate: share of tokens that are masked.
        recipe: recipe of the system that is trained.
        settings: arguments by objective, in place of the published ones.
        arguments: the arguments of this objective: the recipe's published ones, overridden by ``settings``.
        vocabulary: the pieces of the tokenizer, for objectives that tell words from pieces; empty where none does.
    """

    specials: Specials
    vocab_size: int
    offers: Offers
    mask_rate: float = 0.15
    recipe: Recipe | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Sequence[str] = ()

    def piece(self, text: str) -> int:
        """The id of a piece of the vocabulary; 0 where it has none of that text."""
        return next((id_ for id_, piece in enumerate(self.vocabulary) if piece == text), 0)

    def offered(self, need: str) -> Any:
        """The value that the dataset offers for a need; None for needs without a value."""
        read = self.offers.has[need]
        return None if read is None else read()


@dataclass(frozen=True)
class ObjectiveSpec:
    """An objective that experiment files may name.

    Args:
        name: name in experiment files and recipes.
        paper: citation.
        build: builds the objective from its context.
        needs: what the dataset must offer.
        streams: what the system must read, such as ``target`` for objectives of a decoder.
        arguments: names of the arguments that experiment files may set.
    """

    name: str
    paper: str
    build: Callable[[ObjectiveContext], Objective]
    needs: tuple[str, ...] = (TEXTS,)
    streams: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@discovered
def specs() -> dict[str, ObjectiveSpec]:
    """Every objective by name, in alphabetical order.

    Raises:
        UserError: two objectives share a name.
    """
    return by_name(instances(ObjectiveSpec, "objectives"), "objectives")


def find_objective(name: str) -> ObjectiveSpec:
    """The objective of that name.

    Raises:
        UserError: there is none; similar names are listed.
    """
    known = specs()
    if name not in known:
        raise UserError(f"no objective is called {name!r}{nearest(name, known)}")
    return known[name]


def build_objectives(names: Iterable[str], context: ObjectiveContext) -> dict[str, Objective]:
    """The objectives of these names.

    Raises:
        UserError: a name is unknown, or the data or the system lack what an objective needs.
    """
    names = tuple(names)
    if idle := sorted(context.settings.keys() - set(names)):
        raise UserError(f"there are arguments of {idle[0]}, which is not among the objectives {', '.join(names)}")
    return {name: _build(find_objective(name), context) for name in names}


def require(objective: str, needs: Iterable[str], offers: Offers) -> None:
    """Check what an objective needs of the data; ``UserError`` says what is lacking and how to add it."""
    for need in needs:
        if need not in offers.has:
            remedy = offers.remedies.get(need, offers.remedy) or f"it has {', '.join(offers.has)}"
            raise UserError(f"{objective} needs {need}, which the data set {offers.data} does not have; {remedy}")


def _build(spec: ObjectiveSpec, context: ObjectiveContext) -> Objective:
    offers = context.offers
    languages = (LANGUAGE_IDS,) if context.recipe is not None and "languages" in context.recipe.reads else ()
    require(spec.name, (*spec.needs, *languages), offers)
    if context.recipe is not None and (lacking := [one for one in spec.streams if one not in context.recipe.reads]):
        raise UserError(f"{spec.name} needs a system that reads {lacking[0]}, which {context.recipe.name} does not")
    published = {} if context.recipe is None else context.recipe.objective_arguments.get(spec.name, {})
    given = context.settings.get(spec.name, {})
    for name in given:
        if name not in spec.arguments:
            known = nearest(name, spec.arguments, otherwise=f"it has {', '.join(spec.arguments) or 'none'}")
            raise UserError(f"{spec.name} has no argument {name!r}{known}")
    try:
        return offers.variants.get(spec.name, spec.build)(replace(context, arguments={**published, **given}))
    except TypeError as error:
        if not given:
            raise
        said = ", ".join(f"{name}: {value!r}" for name, value in given.items())
        raise UserError(f"an argument of {spec.name} is of the wrong type ({said}): {error}") from error
