"""Recipes of published systems, and additions that apply to many of them."""

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
    family: str  #: name shared by all sizes; stands for the first of them
    paper: str
    build: Callable[..., nn.Module]  #: the encoder; defaults are the published sizes
    reads: frozenset[str]  #: input streams: text, regions, images, entities, languages
    weights: tuple[Rule, ...]  #: key renamings; the first matching rule applies
    heads: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)  #: encoder -> head; may take sizes
    objectives: tuple[str, ...] = ()  #: objectives of the published pretraining
    sizes: Mapping[str, Any] = field(default_factory=dict)  #: arguments of build that differ from its defaults
    config_keys: Mapping[str, str] = field(
        default_factory=dict
    )  #: names in published configurations -> arguments of build
    read_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = (
        None  #: sizes from a configuration beyond ``config_keys``
    )
    infer_from_shapes: Mapping[str, tuple[str, int]] = field(
        default_factory=dict
    )  #: arguments of build -> parameter of the model, axis
    infer_sizes: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Further sizes inferred from a translated checkpoint and the sizes known so far."""
    notes: tuple[str, ...] = ()  #: deviations of the released code, or of this one, from the paper
    text: TextFormat = BERT_FORMAT  #: input format of texts
    pretraining_heads: tuple[str, ...] | None = None  #: None: the heads named like objectives
    objective_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Published arguments of objectives, by name, such as the class order of next-sentence prediction."""

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
        """The published sizes, overridden by ``given``.

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
        """The sizes in a published ``config.json``; other fields are ignored."""
        named = {ours: config[theirs] for theirs, ours in self.config_keys.items() if theirs in config}
        return named if self.read_config is None else {**named, **self.read_config(config)}

    def inferred_sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        """The sizes inferred from tensor shapes of a translated checkpoint; they override its configuration."""
        return {
            size: tensors[ours].shape[axis] for size, (ours, axis) in self.infer_from_shapes.items() if ours in tensors
        }


@dataclass(frozen=True)
class Addition:
    """Extension of systems beyond their recipes: modules added to an encoder, and heads."""

    name: str
    paper: str
    build: Callable[..., nn.Module] | None = None  #: encoder -> encoder with added modules; takes sizes by name
    heads: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)  #: encoder -> head; may take sizes

    def resolved_sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes of its modules: the defaults, overridden by ``given``.

        Raises:
            UserError: it has no modules or no such size, or a size without default is missing.
        """
        if self.build is None:
            raise UserError(f"{self.name} adds no part to an encoder; it has the heads {', '.join(self.heads)}")
        check_sizes(self.name, self.build, given)
        _, *takes = inspect.signature(self.build).parameters.values()
        defaults = {size.name: size.default for size in takes if isinstance(size.default, bool | int | float | str)}
        return defaults | dict(given)

    def wrap(self, encoder: nn.Module, sizes: Mapping[str, Any]) -> nn.Module:
        """The encoder with added, newly initialised modules; errors as in :meth:`resolved_sizes`."""
        sizes = self.resolved_sizes(sizes)
        return cast("Callable[..., nn.Module]", self.build)(encoder, **sizes)


def check_sizes(what: str, build: Callable[..., nn.Module], sizes: Mapping[str, Any]) -> None:
    """Reject sizes that the builder of an addition or head does not take.

    Raises:
        UserError: there is no such size, or one without default is missing.
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
