"""Recipes of published systems, and additions that apply to many of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems.published_fields import STANDARD, check_family, check_fields, note_unknown
from mm_kptm.systems.rules import HeadStart, Rule
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mm_kptm.systems.keymap import TranslatedState
    from mm_kptm.systems.transformers_form import TransformersForm

T = TypeVar("T")

#: Sizes by the names that configurations of transformers have for them, of recipes that read none.
TRANSFORMERS_NAMES: Mapping[str, str] = {
    "hidden_size": "dim",
    "d_model": "dim",
    "emb_dim": "dim",
    "num_hidden_layers": "num_layers",
    "n_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "n_heads": "num_heads",
    "intermediate_size": "ffn_dim",
    "encoder_ffn_dim": "ffn_dim",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "num_segments",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "norm_eps",
    "visual_feat_dim": "region_dim",
    "visual_embedding_dim": "region_dim",
    "img_dim": "region_dim",
}


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
    read_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None  #: what of a configuration no name says
    model_types: tuple[str, ...] = ()  #: what transformers calls the models whose checkpoints it reads; empty: unknown
    fixed_fields: Mapping[str, Sequence[Any]] = field(default_factory=lambda: STANDARD)
    """Published fields and the values that they may have; those of ``config_keys`` are read instead."""
    read_fields: frozenset[str] = frozenset()  #: published fields that ``read_config`` reads
    convert_state: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    """From the tensors of another library to those that ``weights`` renames, where several of them become one."""
    infer_from_shapes: Mapping[str, tuple[str, int]] = field(
        default_factory=dict
    )  #: arguments of build -> parameter of the model, axis
    infer_sizes: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Any]] | None = None
    """What a translated checkpoint and the sizes known so far tell of sizes that are no plain numbers."""
    infer_heads: Callable[[Mapping[str, Tensor]], Mapping[str, Mapping[str, Any]]] | None = None
    """What a translated checkpoint tells of the sizes of heads, by head."""
    configured_heads: Callable[[Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None
    """What a published configuration tells of the sizes of heads, by head."""
    infer_frontends: Callable[[TranslatedState, Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None
    """What a translated checkpoint and its configuration tell of the sizes of frontends, by frontend."""
    notes: tuple[str, ...] = ()  #: where the released code, or ours, departs from the paper
    transformers: TransformersForm | None = None  #: how transformers opens what was saved, where it has an equal class
    text: TextFormat = BERT_FORMAT  #: the form in which it reads texts
    frontends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Published sizes of frontends that differ from their defaults, by name of the frontend."""
    pretraining_heads: tuple[str, ...] | None = None  #: None: those that are called like objectives
    objective_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Published arguments of objectives, by name, such as the class order of next-sentence prediction."""

    task_losses: Mapping[str, str] = field(default_factory=dict)
    """Published losses of tasks, by task and by the name of the loss there, where they are not the usual ones."""
    head_starts: Mapping[str, HeadStart] = field(default_factory=dict)
    """What heads of fine-tuning start from where a checkpoint lacks them, by head."""

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
                ours = self.config_keys.get(name, TRANSFORMERS_NAMES.get(name))
                hint = f"; it is called {ours} here" if ours in published else ""
                raise UserError(f"{self.name} has no size {name!r}{hint or nearest(name, published, otherwise=listed)}")
            kind = _wrong_kind(published[name], value) or _out_of_range(name, published[name], value)
            if kind is not None:
                raise UserError(f"the size {name} of {self.name} must be {kind}, not {value!r}")
        lists = {name for name, value in published.items() if isinstance(value, tuple)}  # JSON has no tuples
        return published | {name: tuple(value) if name in lists else value for name, value in given.items()}

    def configured_sizes(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes that a published ``config.json`` asks for; fields that change no state are passed over.

        Raises:
            UserError: it is of another family, or asks for something that the recipe has no part for; the field is
                named.
        """
        check_family(self.name, config, self.model_types)
        keys = dict(self.config_keys)
        if not self.fixed_fields.get("layer_norm_eps") and "norm_eps" in self.published_sizes():
            keys.setdefault("layer_norm_eps", "norm_eps")
        read = {*keys, *self.read_fields}
        check_fields(self.name, config, {name: can for name, can in self.fixed_fields.items() if name not in read})
        if self.read_config is None or self.read_fields:
            alike = config.get("attention_probs_dropout_prob") == config.get("hidden_dropout_prob")
            rates = {"attention_probs_dropout_prob"} if alike else set()
            note_unknown(self.name, config, {*read, *self.fixed_fields, *rates})
        named = {ours: config[theirs] for theirs, ours in keys.items() if theirs in config}
        return named if self.read_config is None else {**named, **self.read_config(config)}

    def inferred_sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        """The sizes inferred from tensor shapes of a translated checkpoint; they override its configuration."""
        return {
            size: tensors[ours].shape[axis] for size, (ours, axis) in self.infer_from_shapes.items() if ours in tensors
        }


def _wrong_kind(published: Any, value: Any) -> str | None:
    """What a value must be to stand in the place of a published one, or None where it is that."""
    if isinstance(published, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(published, int):
        return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if isinstance(published, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if fits else "a number"
    if isinstance(published, str):
        return None if isinstance(value, str) else "a text"
    return None


def _out_of_range(name: str, published: Any, value: Any) -> str | None:
    """What range a size must be in, or None where it is; no size is negative unless it is published so."""
    if isinstance(published, bool) or not isinstance(published, int | float) or published < 0:
        return None
    if isinstance(published, float):
        return None if value >= 0 else "0 or more"
    least = 1 if published > 0 and name.endswith(_SHAPES) and name not in _OPTIONAL else 0
    return None if least <= value < _LARGEST else f"between {least} and {_LARGEST - 1}"


_SHAPES = ("dim", "heads", "vocab_size", "max_positions", "patch")  #: ends of names of sides that no tensor is without
#: sizes of parts that a model may be without
_OPTIONAL = ("num_languages", "num_segments", "num_tasks", "num_region_classes", "region_dim")
_LARGEST = 2**31  #: sizes are smaller; ids of rows have 32 bits in the files of others


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


@dataclass(frozen=True)
class Frontend:
    """Modules before an encoder that turn raw inputs, such as pixels, into a stream that the encoder reads."""

    name: str
    paper: str
    build: Callable[..., nn.Module]  #: sizes of the encoder -> module from inputs to inputs; takes sizes by name

    def resolved_sizes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes of its modules: the defaults, overridden by ``given``.

        Raises:
            UserError: it has no such size, or a size without default is missing.
        """
        check_sizes(self.name, self.build, given)
        _, *takes = inspect.signature(self.build).parameters.values()
        return {size.name: size.default for size in takes if size.default is not size.empty} | dict(given)


def takes_sizes_of(
    built: Callable[..., nn.Module], *, without: Sequence[str] = ()
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorator of a builder that hands its sizes on to a module or another builder, whose signature names them.

    Args:
        built: what takes the sizes.
        without: those that the builder itself chooses.
    """

    def named(build: Callable[..., T]) -> Callable[..., T]:
        own = [one for one in inspect.signature(build).parameters.values() if one.kind is not one.VAR_KEYWORD]
        sizes = [one for one in inspect.signature(built).parameters.values() if one.name not in without]
        build.__signature__ = inspect.Signature([*own, *sizes])  # type: ignore[attr-defined]  # read by inspect
        return build

    return named


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
