"""Systems from recipes: with fresh weights, from an official checkpoint, from a folder that this suite saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.keymap import Checkpoint, Translation, fit, read_checkpoint, read_weights, translate
from mm_kptm.models.system import System
from mm_kptm.recipe import Recipe, check_sizes, find, find_addition, heads_of

Heads = Iterable[str] | Mapping[str, Mapping[str, Any]]
Files = str | Path | Mapping[str, str | Path]
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_OWN = "task."  #: what the names of a task's own parameters begin with
_CHECKPOINT_NAMES = ("model.safetensors", "weights.safetensors", "pytorch_model.bin", "model.bin", "model.pt")


@dataclass(frozen=True)
class Saved:
    """What the ``config.json`` of a saved folder says."""

    recipe: str
    sizes: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    added: Mapping[str, Mapping[str, Any]]  #: parts around the encoder, the innermost first
    data: Mapping[str, str]  #: what it was trained on, hashes by name
    task: str | None  #: whose own parts lie beside the system


def build(name: str, *, heads: Heads | None = None, seed: int | None = None, **sizes: Any) -> System:
    """A system with fresh weights.

    Args:
        name: of a recipe (``uniter-base``) or of a family (``uniter``); :func:`mm_kptm.catalogue` has them all.
        heads: names of heads to build, or names with their sizes; the published pretraining's unless given.
        seed: for the fresh weights; torch's global state otherwise.
        sizes: any argument of the recipe's builder in place of the published value.

    Raises:
        UserError: the recipe, a head or a size does not exist.
    """
    recipe = find(name)
    chosen = _head_sizes(recipe, recipe.objectives if heads is None else heads)
    with _seeded(seed):
        return _assemble(recipe, recipe.resolved_sizes(sizes), chosen)


def load(
    name: str,
    path: Files | None = None,
    *,
    heads: Heads | None = None,
    fresh: Sequence[str] = (),
    seed: int | None = None,
    **sizes: Any,
) -> System:
    """A system with the weights of an official checkpoint, or of a folder that this suite saved.

    Args:
        name: of a recipe or family; the folder itself when it was saved by :func:`save`.
        path: a checkpoint file, or a folder that holds one (and perhaps the published ``config.json``). Where a system
            was published in several, all of them, each by what its names begin with in the recipe: ``{"": backbone,
            "fac_adapter.": adapters}``.
        heads: as in :func:`build`; by default every head of the recipe that the file fills.
        fresh: beginnings of our parameter names that keep fresh weights where the file has none (``heads.vqa.`` to
            fine-tune on VQA, ``encoder.embed.regions.`` to start UNITER from BERT).
        seed: for the fresh weights; torch's global state otherwise.
        sizes: as in :func:`build`; they win over what the checkpoint's tables and ``config.json`` say.

    Raises:
        UserError: no such file, sizes for a saved folder, two files with the same name in them, nothing in the model
            begins like one of ``fresh``, or the checkpoint does not fit; the message lists what is left over on either
            side.
    """
    if path is None or (not isinstance(path, Mapping) and _is_saved(Path(path))):
        folder = Path(name if path is None else path)
        if sizes:
            raise UserError(f"{folder} was saved with its sizes, so {', '.join(sizes)} cannot be chosen; build another")
        return load_saved(folder, name=None if path is None else name, heads=heads, fresh=fresh, seed=seed)
    recipe = find(name)
    found = _read(path)
    translation = translate(found.tensors, recipe.weights)
    chosen = _head_sizes(recipe, _filled_heads(recipe, translation) if heads is None else heads)
    published = recipe.sizes_of(found.config) | recipe.sizes_told(translation.tensors)
    if recipe.sizes_from is not None:
        published |= recipe.sizes_from(translation.tensors, published)
    with _seeded(seed):
        system = _assemble(recipe, recipe.resolved_sizes(published | sizes), chosen)
    _fill(system, _fitted(translation, system, recipe, fresh))
    return system


def translated(name: str, path: Files) -> Translation:
    """What the rules of a recipe make of an official checkpoint: placed, left behind, unknown; nothing is built."""
    return translate(_read(path).tensors, find(name).weights)


def add(system: System, name: str, sizes: Mapping[str, Any]) -> None:
    """Put parts with fresh weights around the encoder of a system, which a recipe alone would not build.

    Args:
        system: is changed; a folder that it is saved to says what was added.
        name: of an addition.
        sizes: of its builder, all plain values.

    Raises:
        UserError: there is no such addition or size, or the encoder has no room for it.
    """
    addition = find_addition(name)
    system.encoder = addition.around(system.encoder, sizes)
    system.added[name] = addition.resolved_sizes(sizes)
    system.train(system.training)


def add_head(system: System, name: str, sizes: Mapping[str, Any]) -> None:
    """Put a head with fresh weights beside the encoder of a system.

    Raises:
        UserError: the recipe has no such head, and neither has any addition; or the head no such size.
    """
    recipe = find(system.recipe)
    (chosen,) = _head_sizes(recipe, {name: sizes}).values()
    system.heads[name] = _head(recipe, name, system.encoder, chosen)
    system.head_sizes[name] = chosen
    system.train(system.training)


def save(
    system: System, folder: str | Path, *, task: str | None = None, own: Mapping[str, Tensor] | None = None
) -> None:
    """Write ``model.safetensors`` and ``config.json`` (recipe, sizes, heads, added parts, data, version).

    Args:
        system: all of it is written.
        folder: is made where it is not there.
        task: that the system was trained on, where the task has parts of its own.
        own: the parameters of these, such as a head that no recipe has; :func:`load` leaves them behind.
    """
    from mm_kptm import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = {
        "mm_kptm": __version__,
        "recipe": system.recipe,
        "sizes": system.sizes,
        "heads": system.head_sizes,
        "added": system.added,
        "data": system.data,
        "task": task,
    }
    written = parameters(system) | {_OWN + name: tensor for name, tensor in (own or {}).items()}
    save_file({name: tensor.contiguous() for name, tensor in written.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def saved(folder: str | Path) -> Saved | None:
    """What a folder holds, or None where :func:`save` did not write it.

    Raises:
        UserError: its ``config.json`` is broken.
    """
    path = Path(folder) / CONFIG
    if not _is_saved(path.parent):
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        sizes, heads, added, data = said["sizes"], said["heads"], said.get("added", {}), said.get("data", {})
        if not all(isinstance(part, dict) for part in (sizes, heads, added, data)):
            raise ValueError
        return Saved(said["recipe"], sizes, heads, added, data, said.get("task"))
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path} does not say which system lies beside it; save the system again") from None


def saved_own(folder: str | Path, task: str) -> dict[str, Tensor]:
    """The parameters that a task has beside the system of a folder; none where the folder was not saved with it.

    Raises:
        UserError: its ``config.json`` is broken.
    """
    held = saved(folder)
    if held is None or held.task != task:
        return {}
    tensors = read_weights(Path(folder) / WEIGHTS)
    return {name.removeprefix(_OWN): tensor for name, tensor in tensors.items() if name.startswith(_OWN)}


def load_saved(
    folder: Path,
    *,
    name: str | None = None,
    heads: Heads | None = None,
    fresh: Sequence[str] = (),
    seed: int | None = None,
) -> System:
    """A system from a folder that :func:`save` wrote, with the heads it was saved with or others.

    Raises:
        UserError: the folder is not of that kind, holds another recipe than ``name``, or lacks parts that it names.
    """
    held = saved(folder)
    if held is None:
        raise UserError(f"{folder} is no folder with {CONFIG} and {WEIGHTS} that this suite saved")
    recipe = find(held.recipe)
    if name is not None and name not in (recipe.name, recipe.family):
        raise UserError(f"{folder} holds {recipe.name}, but {name} was asked for")
    chosen = _head_sizes(recipe, held.heads if heads is None else heads)
    sized = {head: {**held.heads.get(head, {}), **chosen[head]} for head in chosen}
    with _seeded(seed):
        system = _assemble(recipe, recipe.resolved_sizes(held.sizes), sized)
        published = set(system.parameters())
        for addition, sizes in held.added.items():
            add(system, addition, sizes)
    tensors, unfilled = read_weights(folder / WEIGHTS), tuple(fresh)
    for parameter, value in system.named_parameters():
        if value not in published and parameter not in tensors and not parameter.startswith(unfilled):
            raise UserError(
                f"{folder} says that it holds {recipe.name} with {' and '.join(held.added)}, but its {WEIGHTS} has no "
                f"{parameter}; save the system again"
            )
    _fill(system, _fitted(Translation(tensors=tensors), system, recipe, fresh))
    system.data = dict(held.data)
    return system


def _fitted(translation: Translation, system: System, recipe: Recipe, fresh: Sequence[str]) -> dict[str, Tensor]:
    """What fills a system, heads that it was built without left behind and ``fresh`` parts left as they are."""
    wanted = shapes(system)
    for beginning in fresh:
        if not any(parameter.startswith(beginning) for parameter in wanted):
            raise UserError(f"no parameter of {recipe.name} begins with {beginning!r}, so nothing there can stay fresh")
    translation = _without_repeats(translation, system)
    return fit(translation, wanted, known=[_OWN, *(f"heads.{head}." for head in heads_of(recipe))], fresh=fresh)


def _without_repeats(translation: Translation, system: System) -> Translation:
    """The translation without what a parameter that stands in several places would be filled with again.

    Raises:
        UserError: the file holds other values for one of the places.
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
    """Every parameter once, under its first name; tied ones are not repeated."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of every parameter."""
    return {name: parameter.shape for name, parameter in parameters(module).items()}


@torch.no_grad()
def _fill(system: System, tensors: Mapping[str, Tensor]) -> None:
    ours = parameters(system)
    for name, tensor in tensors.items():
        ours[name].copy_(tensor)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Fresh weights follow from the seed, and torch's global state is left as it was; without one, from that state."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _assemble(recipe: Recipe, sizes: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]) -> System:
    encoder = recipe.build(**sizes)
    built = {name: _head(recipe, name, encoder, head_sizes) for name, head_sizes in heads.items()}
    return System(encoder, built, recipe=recipe.name, sizes=sizes, head_sizes=heads).eval()


def _head(recipe: Recipe, name: str, encoder: nn.Module, sizes: Mapping[str, Any]) -> nn.Module:
    build = heads_of(recipe)[name]
    check_sizes(f"the head {name}", build, sizes)
    return build(encoder, **sizes)


def _head_sizes(recipe: Recipe, heads: Heads) -> dict[str, dict[str, Any]]:
    chosen = {name: dict(heads[name]) if isinstance(heads, Mapping) else {} for name in heads}
    known = heads_of(recipe)
    for name in chosen:
        if name not in known:
            raise UserError(f"{recipe.name} has no head {name!r}; it has {', '.join(recipe.heads) or 'none'}")
    return chosen


def _filled_heads(recipe: Recipe, translation: Translation) -> list[str]:
    filled = translation.tensors.keys() - translation.second
    return [name for name in recipe.heads if any(key.startswith(f"heads.{name}.") for key in filled)]


def _is_saved(folder: Path) -> bool:
    config = folder / CONFIG
    return config.is_file() and (folder / WEIGHTS).is_file() and '"mm_kptm"' in config.read_text(encoding="utf-8")


def _read(path: Files) -> Checkpoint:
    """All tensors of one or several checkpoints, and what is said of them, the first word on a thing being the last."""
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
    """The checkpoint file of a path, and the published configuration beside it."""
    if not path.is_dir():
        return path, {}
    files = [path / name for name in _CHECKPOINT_NAMES if (path / name).is_file()]
    if not files:
        raise UserError(f"{path} holds no checkpoint; one of {', '.join(_CHECKPOINT_NAMES)} was looked for")
    config = path / CONFIG
    return files[0], json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
