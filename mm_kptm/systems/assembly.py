"""Assembly of systems from recipes: encoder, heads and additions, with new or loaded weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.systems.discovery import find, find_addition, find_frontend, heads_of
from mm_kptm.systems.keymap import TranslatedState, fit
from mm_kptm.systems.norm_eps import set_norm_eps
from mm_kptm.systems.recipe import Recipe, check_sizes
from mm_kptm.systems.system import System

Heads = Iterable[str] | Mapping[str, Mapping[str, Any]]


WEIGHTS, CONFIG = "model.safetensors", "config.json"


TASK_PREFIX = "task."  #: prefix of the names of a task's own parameters
FRONTEND_PREFIX = "frontends."


def add(system: System, name: str, sizes: Mapping[str, Any]) -> None:
    """Add modules with newly initialised weights to the encoder of a system, such as adapters.

    Args:
        system: modified in place; saved folders record its additions.
        name: name of an addition.
        sizes: arguments of its builder, all plain values.

    Raises:
        UserError: there is no such addition or size, or it does not fit the encoder.
    """
    addition = find_addition(name)
    system.encoder = addition.wrap(system.encoder, sizes)
    system.added[name] = addition.resolved_sizes(sizes)
    system.train(system.training)


def add_frontend(system: System, name: str, sizes: Mapping[str, Any]) -> None:
    """Put modules with newly initialised weights before the encoder of a system, such as a backbone that reads pixels.

    Args:
        system: modified in place; saved folders record its frontends.
        name: name of a frontend.
        sizes: arguments of its builder, all plain values.

    Raises:
        UserError: there is no such frontend or size, or it does not fit the encoder.
    """
    frontend = find_frontend(name)
    resolved = frontend.resolved_sizes({**find(system.recipe).frontends.get(name, {}), **sizes})
    system.frontends[name] = frontend.build(system, **resolved)
    system.frontend_sizes[name] = resolved
    system.train(system.training)


def add_head(system: System, name: str, sizes: Mapping[str, Any]) -> None:
    """Add a head with newly initialised weights to a system.

    Raises:
        UserError: neither the recipe nor any addition has such a head, or the head has no such size.
    """
    recipe = find(system.recipe)
    (chosen,) = chosen_heads(recipe, {name: sizes}).values()
    system.heads[name] = _head(recipe, name, system.encoder, chosen)
    system.head_sizes[name] = chosen
    system.train(system.training)


def fitted(translation: TranslatedState, system: System, recipe: Recipe, fresh: Sequence[str]) -> dict[str, Tensor]:
    """The tensors that fill a system; those of absent heads are dropped, ``fresh`` parts stay initialised.

    A head that the file lacks starts from others where the published training does so.
    """
    expected = shapes(system)
    names = {name for name, _ in system.named_parameters(remove_duplicate=False)}  # a head may be tied as a whole
    for beginning in fresh:
        if not any(name.startswith(beginning) for name in (*names, *expected)):
            raise UserError(f"no parameter of {recipe.name} begins with {beginning!r}, so nothing there can stay fresh")
    translation = _with_starts(_without_repeats(translation, system), system, recipe)
    return fit(
        translation,
        expected,
        known=[TASK_PREFIX, FRONTEND_PREFIX, *(f"heads.{head}." for head in heads_of(recipe))],
        fresh=fresh,
    )


def _with_starts(translation: TranslatedState, system: System, recipe: Recipe) -> TranslatedState:
    """Add what the heads of a system that the file lacks start from."""
    tensors = dict(translation.tensors)
    for head, start in recipe.head_starts.items():
        if head in system.heads and not any(name.startswith(f"heads.{head}.") for name in tensors):
            tensors |= {f"heads.{head}.{name}": tensor for name, tensor in start(translation.tensors).items()}
    return replace(translation, tensors=tensors)


def _without_repeats(translation: TranslatedState, system: System) -> TranslatedState:
    """Drop tensors of tied parameters beyond the first.

    Raises:
        UserError: the file has different values for a tied parameter.
    """
    tensors, firsts = dict(translation.tensors), dict[nn.Parameter, str]()
    for name, parameter in system.named_parameters(remove_duplicate=False):
        first = firsts.setdefault(parameter, name)
        if first != name and name in tensors:
            repeated = tensors.pop(name)
            if not torch.equal(tensors.setdefault(first, repeated), repeated):
                raise UserError(
                    f"{name} and {first} are one parameter of {system.recipe}, but the file has two for them"
                )
    return replace(translation, tensors=tensors)


def parameters(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter once, under its first name, and every running statistic that a file must hold.

    Tied parameters are not repeated. Counters of batches are left out: batch norm does not read them where its momentum
    is a number.
    """
    found = {name: parameter.detach() for name, parameter in module.named_parameters()}
    saved = module.state_dict().keys()
    kept = {name: buffer for name, buffer in module.named_buffers() if name in saved}
    return found | {name: buffer for name, buffer in kept.items() if not name.endswith(".num_batches_tracked")}


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of every parameter and running statistic."""
    return {name: parameter.shape for name, parameter in parameters(module).items()}


@torch.no_grad()
def fill(system: System, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors into a system; momentum encoders of which they hold nothing start as copies of the encoder."""
    ours = parameters(system)
    for name, tensor in tensors.items():
        ours[name].copy_(tensor)
    given = {name.split(".")[1] for name in tensors if name.startswith("heads.")}
    restart_followers(system, [head for head in system.heads if head not in given])


@runtime_checkable
class FollowsEncoder(Protocol):
    """Head with a momentum encoder (He et al. 2020, MoCo, section 3.1)."""

    def follow(self, encoder: nn.Module, momentum: float) -> None:
        """Move it towards the encoder: momentum * slow + (1 - momentum) * fast."""


def restart_followers(system: System, heads: Iterable[str]) -> None:
    """Let the momentum encoders of these heads be copies of the encoder, as a training begins."""
    for name in heads:
        if isinstance(head := system.heads[name], FollowsEncoder) and not system.added:
            head.follow(system.encoder, 0.0)


@contextmanager
def seeded_weights(seed: int | None) -> Iterator[None]:
    """Seed weight initialisation and restore torch's global random state; without a seed, use that state."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def assemble(recipe: Recipe, sizes: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]) -> System:
    encoder = recipe.build(**sizes)
    built = {name: _head(recipe, name, encoder, head_sizes) for name, head_sizes in heads.items()}
    if (published := recipe.published_sizes().get("norm_eps")) is not None:
        for head in built.values():
            set_norm_eps(head, sizes["norm_eps"], published=published)
    return System(encoder, built, recipe=recipe.name, sizes=sizes, head_sizes=heads).eval()


def _head(recipe: Recipe, name: str, encoder: nn.Module, sizes: Mapping[str, Any]) -> nn.Module:
    build = heads_of(recipe)[name]
    check_sizes(f"the head {name}", build, sizes)
    return build(encoder, **sizes)


def chosen_heads(recipe: Recipe, heads: Heads) -> dict[str, dict[str, Any]]:
    chosen = {name: dict(heads[name]) if isinstance(heads, Mapping) else {} for name in heads}
    known = heads_of(recipe)
    for name in chosen:
        if name not in known:
            raise UserError(f"{recipe.name} has no head {name!r}; it has {', '.join(recipe.heads) or 'none'}")
    return chosen
