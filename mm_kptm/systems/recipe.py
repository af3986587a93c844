"""Recipes: what a published system is, as a value; additions: what can be put on many of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.rules import Rule
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """A published system in one published size."""

    name: str
    family: str  #: the name that its sizes share; finds the first of them
    paper: str
    build: Callable[..., nn.Module]  #: the encoder; defaults are the published sizes
    reads: frozenset[str]  #: streams that it can read: text, regions, images, entities, languages
    weights: tuple[Rule, ...]  #: from published names to ours, the first rule that fits counts
    heads: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)  #: encoder -> head; may take sizes
    objectives: tuple[str, ...] = ()  #: of the published pretraining, as experiment files name them
    sizes: Mapping[str, Any] = field(default_factory=dict)  #: where this size departs from the builder's defaults
    config_keys: Mapping[str, str] = field(
        default_factory=dict
    )  #: names in published configurations -> arguments of build
    read_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None  #: what of a configuration no name says
    infer_from_shapes: Mapping[str, tuple[str, int]] = field(
        default_factory=dict
    )  #: arguments of build -> our parameter, its axis
    infer_sizes: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Any]] | None = None
    """What a translated checkpoint and the sizes known so far tell of sizes that are no plain numbers."""
    notes: tuple[str, ...] = ()  #: where the released code, or ours, departs from the paper
    text: TextFormat = BERT_FORMAT  #: the form in which it reads texts
    pretraining_heads: tuple[str, ...] | None = None  #: None: those that are called like objectives
    objective_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What objectives were published with, by name: where next-sentence has its classes the other way round ..."""

    @property
    def default_heads(self) -> tuple[str, ...]:
        """The heads of the published pretraining."""
        named = tuple(name for name in self.objectives if name in self.heads)
        return named if self.pretraining_heads is None else self.pretraining_heads

    def published_sizes(self) -> dict[str, Any]:
        """Every argument of the builder with its value in this recipe."""
        defaults = {name: parameter.default for name, parameter in inspect.signature(self.build).parameters.items()}
        return defaults | dict(self.sizes)

    def resolved_sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The published sizes with ``given`` in place of some.

        Raises:
            UserError: the builder has no such size, or the value is of another type.
        """
        published = self.published_sizes()
        for name, value in given.items():
            if name not in published:
                listed = f"it has {', '.join(published)}"
                raise UserError(f"{self.name} has no size {name!r}{nearest(name, published, otherwise=listed)}")
            if isinstance(published[name], int) and not isinstance(value, int):
                raise UserError(f"the size {name} of {self.name} must be a whole number, not {value!r}")
        return published | dict(given)

    def configured_sizes(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes that a published ``config.json`` asks for; fields that do not size anything are passed over."""
        named = {ours: config[theirs] for theirs, ours in self.config_keys.items() if theirs in config}
        return named if self.read_config is None else {**named, **self.read_config(config)}

    def inferred_sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        """The sizes that the shapes of a translated checkpoint tell, whatever its configuration says of them."""
        return {
            size: tensors[ours].shape[axis] for size, (ours, axis) in self.infer_from_shapes.items() if ours in tensors
        }


@dataclass(frozen=True)
class Addition:
    """What can be put on systems whose recipes do not have it: parts around an encoder, heads beside it."""

    name: str
    paper: str
    build: Callable[..., nn.Module] | None = None  #: an encoder -> the same with added parts; takes sizes by name
    heads: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)  #: encoder -> head; may take sizes

    def resolved_sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes that its parts are built with: ``given`` ones, and the defaults of the others.

        Raises:
            UserError: there are no such parts, or they have no such size, or need one that is not given.
        """
        if self.build is None:
            raise UserError(f"{self.name} adds no part to an encoder; it has the heads {', '.join(self.heads)}")
        check_sizes(self.name, self.build, given)
        _, *takes = inspect.signature(self.build).parameters.values()
        defaults = {size.name: size.default for size in takes if isinstance(size.default, bool | int | float | str)}
        return defaults | dict(given)

    def wrap(self, encoder: nn.Module, sizes: Mapping[str, Any]) -> nn.Module:
        """The encoder with the added parts, whose weights are fresh; errors as :meth:`resolved_sizes`."""
        sizes = self.resolved_sizes(sizes)
        return cast("Callable[..., nn.Module]", self.build)(encoder, **sizes)


def check_sizes(what: str, build: Callable[..., nn.Module], sizes: Mapping[str, Any]) -> None:
    """Refuse sizes of an addition or a head that its builder, called with an encoder, does not take.

    Raises:
        UserError: there is no such size, or one that has no published value is missing.
    """
    _, *takes = inspect.signature(build).parameters.values()
    names = {size.name: size.default for size in takes}
    for name in sizes:
        if name not in names:
            listed = f"it has {', '.join(names) or 'none'}"
            raise UserError(f"{what} has no size {name!r}{nearest(name, names, otherwise=listed)}")
    for name, default in names.items():
        if default is inspect.Parameter.empty and name not in sizes:
            raise UserError(f"{what} needs a size {name}, which is not given")
