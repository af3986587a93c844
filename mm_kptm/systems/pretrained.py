"""Building systems from recipes: newly initialised, from an official checkpoint or from a saved folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.assembly import CONFIG, Heads, assemble, chosen_heads, fill, fitted, seeded_weights
from mm_kptm.systems.checkpoint_files import Checkpoint, read_checkpoint
from mm_kptm.systems.discovery import find
from mm_kptm.systems.keymap import TranslatedState, translate
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import is_saved, load_saved
from mm_kptm.systems.system import System

Files = str | Path | Mapping[str, str | Path]


_CHECKPOINT_NAMES = ("model.safetensors", "weights.safetensors", "pytorch_model.bin", "model.bin", "model.pt")


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
        return assemble(recipe, recipe.resolved_sizes(sizes), chosen)


def load(
    name: str,
    path: Files | None = None,
    *,
    heads: Heads | None = None,
    fresh: Sequence[str] = (),
    seed: int | None = None,
    **sizes: Any,
) -> System:
    """Load a system from an official checkpoint or from a saved folder.

    Args:
        name: name of a recipe or family; for folders saved by :func:`save`, the folder itself.
        path: a checkpoint file, or a folder with one (and optionally the published ``config.json``). For a system
            published in several files, all of them by the prefix of their keys in the recipe: ``{"": backbone,
            "fac_adapter.": adapters}``.
        heads: as in :func:`build`; default: every head of the recipe that the file fills.
        fresh: prefixes of parameters that may be missing in the file and stay newly initialised (``heads.vqa.`` to
            fine-tune on VQA, ``encoder.embed.regions.`` to start UNITER from BERT).
        seed: seed of the initialisation; default: torch's global state.
        sizes: as in :func:`build`; they override those of the checkpoint's tensors and ``config.json``.

    Raises:
        UserError: no such file, sizes for a saved folder, a key in two files, a prefix in ``fresh`` without parameters,
            or a checkpoint that does not fit; the message lists the missing and the unexpected keys.
    """
    if path is None or (not isinstance(path, Mapping) and is_saved(Path(path))):
        folder = Path(name if path is None else path)
        if sizes:
            raise UserError(f"{folder} was saved with its sizes, so {', '.join(sizes)} cannot be chosen; build another")
        return load_saved(folder, name=None if path is None else name, heads=heads, fresh=fresh, seed=seed)
    recipe = find(name)
    found = _read(path)
    translation = translate(found.tensors, recipe.weights)
    chosen = chosen_heads(recipe, _filled_heads(recipe, translation) if heads is None else heads)
    published = recipe.configured_sizes(found.config) | recipe.inferred_sizes(translation.tensors)
    if recipe.infer_sizes is not None:
        published |= recipe.infer_sizes(translation.tensors, published)
    with seeded_weights(seed):
        system = assemble(recipe, recipe.resolved_sizes(published | sizes), chosen)
    fill(system, fitted(translation, system, recipe, fresh))
    return system


def translated(name: str, path: Files) -> TranslatedState:
    """Translate the keys of an official checkpoint by the rules of a recipe, without building the model."""
    return translate(_read(path).tensors, find(name).weights)


def _filled_heads(recipe: Recipe, translation: TranslatedState) -> list[str]:
    filled = translation.tensors.keys() - translation.second
    return [name for name in recipe.heads if any(key.startswith(f"heads.{name}.") for key in filled)]


def _read(path: Files) -> Checkpoint:
    """All tensors of one or several checkpoints, and their merged configurations; earlier files take precedence."""
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    for beginning, one in path.items() if isinstance(path, Mapping) else [("", path)]:
        file, beside = _checkpoint(Path(one))
        found = read_checkpoint(file)
        for name, tensor in found.tensors.items():
            if beginning + name in tensors:
                raise UserError(
                    f"{file} holds {name} like another file; tell them apart by what their names begin with"
                )
            tensors[beginning + name] = tensor
        config = found.config | beside | config
    return Checkpoint(tensors, config)


def _checkpoint(path: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint file of a path, and the published configuration in the same folder."""
    if not path.is_dir():
        return path, {}
    files = [path / name for name in _CHECKPOINT_NAMES if (path / name).is_file()]
    if not files:
        raise UserError(f"{path} holds no checkpoint; one of {', '.join(_CHECKPOINT_NAMES)} was looked for")
    config = path / CONFIG
    return files[0], json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
