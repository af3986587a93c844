"""Knowledge kinds: protocol of a knowledge injection method, and the catalogue of all of them.

A :class:`KnowledgeKind` is a choice of ``knowledge.kind`` if it is defined in a module of a package called ``kinds``,
or in one that an installed plug-in names in the entry point group ``mm_kptm.kinds``. Its
:class:`~mm_kptm.systems.recipe.Addition` around encoders may be defined beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from mm_kptm.adaptation.layer_stack import layer_stack
from mm_kptm.errors import UserError, nearest
from mm_kptm.models.single import SingleStream
from mm_kptm.systems.discovery import by_name, discovered, instances
from mm_kptm.systems.recipe import Addition, Recipe

#: Forms in which datasets provide facts, for :attr:`KnowledgeKind.form`; datasets name the forms they support.
BRANCHES = "branches"  #: facts attached to names in a text, as a sentence tree
ENTITIES = "entities"  #: an entity vector at every mention
REGION_ENTITIES = "region entities"  #: an entity vector at every region that is linked to one
CANDIDATES = "candidates"  #: candidate entities of every mention, from some knowledge bases, with their vectors
OPEN_FACTS = "open facts"  #: beside the examples: facts whose object is predicted
DESCRIBED_TRIPLES = "described triples"  #: beside the examples: triples of entities with descriptions

FACTS = ("none", "true", "random", "swapped", "oracle")  #: the true facts, and their controls
LEARNT_FACTS = ("none", "true", "random")  #: facts for methods that learn them in training


@dataclass(frozen=True)
class DataSizes:
    """Sizes that depend on the dataset."""

    entity_dim: int  #: width of entity vectors
    knowledge_bases: tuple[str, ...] = ()  #: knowledge bases of the candidates


Sizes = Callable[[SingleStream, DataSizes], Mapping[str, Any]]


def no_sizes(stack: SingleStream, data: DataSizes) -> Mapping[str, Any]:
    """No sizes, for kinds without parts."""
    return {}


@dataclass(frozen=True)
class KnowledgeKind:
    """Knowledge injection method for an encoder that was published without it."""

    name: str  #: value of `knowledge.kind` in experiment files
    paper: str
    form: str  #: form of the facts: one of the forms above, or one that a plug-in's datasets provide
    addition: Addition | None = None  #: modules around the encoder, or heads beside it
    native_stream: str | None = None  #: recipes that read this stream need no parts
    host: Callable[[nn.Module], SingleStream | None] = layer_stack
    """Layers of an encoder that the parts wrap; None if they do not fit."""
    host_requirement: str = "runs the layers over its text one after the other"  #: for error messages
    sizes: Sizes = no_sizes  #: sizes of the parts, from the host's layers and the data
    vector_table: Addition | None = None  #: trainable entity vectors from files; None if the kind reads none
    facts: tuple[str, ...] = FACTS  #: facts that this method can inject

    @property
    def adds_parts(self) -> bool:
        """Whether the kind changes an encoder even without facts."""
        return self.addition is not None and self.addition.build is not None

    def parts(self, recipe: Recipe, *, trainable: bool) -> tuple[Addition, ...]:
        """Additions around an encoder of a recipe, innermost first.

        Args:
            recipe: recipe of the encoder.
            trainable: whether entity vectors from files are trained.
        """
        added = self.addition if self.adds_parts and self.native_stream not in recipe.reads else None
        table = self.vector_table if trainable else None
        return tuple(addition for addition in (added, table) if addition is not None)


@discovered
def knowledge_kinds() -> dict[str, KnowledgeKind]:
    """All knowledge kinds by name, in alphabetical order.

    UserError: two of them have the same name.
        UserError: two of them share a name.
    """
    return by_name(instances(KnowledgeKind, "kinds"), "ways of giving knowledge")


def find_kind(name: str) -> KnowledgeKind:
    """Knowledge kind by name.

    Raises:
        UserError: there is none; the message suggests near names.
    """
    kinds = knowledge_kinds()
    if name not in kinds:
        raise UserError(f"no knowledge.kind is called {name!r}{nearest(name, kinds)}")
    return kinds[name]
