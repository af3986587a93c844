"""What a way of giving knowledge to an encoder is, as a value, and the catalogue of all of them.

A :class:`KnowledgeKind` joins the choices of ``knowledge.kind`` by standing in a module of a package called ``kinds``,
or in one that an installed plug-in names in the entry point group ``mm_kptm.kinds``. The
:class:`~mm_kptm.systems.recipe.Addition` that it puts around encoders may stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from mm_kptm.adaptation.layer_stack import layer_stack
from mm_kptm.errors import UserError, nearest
from mm_kptm.models.single import SingleStream
from mm_kptm.systems.discovery import by_name, instances
from mm_kptm.systems.recipe import Addition, Recipe

#: The forms in which data give facts, for :attr:`KnowledgeKind.form`; data sets name those that they can give.
BRANCHES = "branches"  #: hang from names in a text, as a sentence tree
ENTITIES = "entities"  #: a vector at every mention
CANDIDATES = "candidates"  #: entities that every mention may mean, of some knowledge bases, with their vectors
OPEN_FACTS = "open facts"  #: beside the examples: facts whose object is asked for
DESCRIBED_TRIPLES = "described triples"  #: beside the examples: triples of entities with descriptions

FACTS = ("none", "true", "random", "swapped", "oracle")  #: the true facts, and the controls that stand in for them
LEARNT_FACTS = ("none", "true", "random")  #: those that can be learnt before a question is asked


@dataclass(frozen=True)
class DataSizes:
    """What the parts that read facts are sized by."""

    entity_dim: int  #: width of entity vectors
    knowledge_bases: tuple[str, ...] = ()  #: that candidates are of


Sizes = Callable[[SingleStream, DataSizes], Mapping[str, Any]]


def no_sizes(stack: SingleStream, data: DataSizes) -> Mapping[str, Any]:
    """No parts, no sizes."""
    return {}


@dataclass(frozen=True)
class KnowledgeKind:
    """A way of giving knowledge to an encoder that was published without it."""

    name: str  #: as experiment files call it
    paper: str
    form: str  #: in which data give the facts: one of the forms above, or one that a plug-in's data know
    addition: Addition | None = None  #: parts around the encoder, or heads beside it
    native_stream: str | None = None  #: a recipe that reads this stream needs no parts
    host: Callable[[nn.Module], SingleStream | None] = layer_stack
    """The layers of an encoder that the parts are put around; None where they have no place."""
    host_requirement: str = "runs the layers over its text one after the other"  #: what an encoder without a host lacks
    sizes: Sizes = no_sizes  #: of the parts, by the host's layers and the data
    vector_table: Addition | None = None  #: holds vectors from files while they are trained; None: it reads no files
    facts: tuple[str, ...] = FACTS  #: which facts can be given in this way

    @property
    def adds_parts(self) -> bool:
        """Whether it changes an encoder even where no fact is given."""
        return self.addition is not None and self.addition.build is not None

    def parts(self, recipe: Recipe, *, trainable: bool) -> tuple[Addition, ...]:
        """What is put around an encoder of a recipe, the innermost first.

        Args:
            recipe: of the encoder.
            trainable: whether vectors from files are trained with it.
        """
        added = self.addition if self.adds_parts and self.native_stream not in recipe.reads else None
        table = self.vector_table if trainable else None
        return tuple(addition for addition in (added, table) if addition is not None)


@cache
def knowledge_kinds() -> dict[str, KnowledgeKind]:
    """Every way of giving knowledge by name, in alphabetical order.

    Raises:
        UserError: two of them share a name.
    """
    return by_name(instances(KnowledgeKind, "kinds"), "ways of giving knowledge")


def find_kind(name: str) -> KnowledgeKind:
    """The way of giving knowledge of that name.

    Raises:
        UserError: there is none; near names are listed.
    """
    kinds = knowledge_kinds()
    if name not in kinds:
        raise UserError(f"no knowledge.kind is called {name!r}{nearest(name, kinds)}")
    return kinds[name]
