"""Saved folders: weights, configuration and additions of a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from mm_kptm.data.tokenizers.clip_bpe import published_merges
from mm_kptm.data.tokenizers.opening import holds_tokenizer
from mm_kptm.errors import UserError
from mm_kptm.io import manifest
from mm_kptm.io.atomic import write_json, write_text
from mm_kptm.io.records import read_json
from mm_kptm.io.tensors import write_tensors
from mm_kptm.systems.assembly import (
    CONFIG,
    TASK_PREFIX,
    WEIGHTS,
    Heads,
    add,
    add_frontend,
    assemble,
    chosen_heads,
    fill,
    fitted,
    parameters,
    seeded_weights,
)
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.checkpoint_folder import read_config_file
from mm_kptm.systems.discovery import catalogue, find
from mm_kptm.systems.encoder import DualEncoder, TextLimits
from mm_kptm.systems.keymap import TranslatedState
from mm_kptm.systems.labels import name_labels
from mm_kptm.systems.model_card import Measured, model_card
from mm_kptm.systems.system import System
from mm_kptm.systems.text_tokenizer import TextTokenizer, read_options
from mm_kptm.systems.transformers_form import class_fields, from_published, to_published

CLIP_PIECES = 49408  #: of CLIP's published tokenizer
CARD, RESULTS = "README.md", "results.json"
IN_RUN = "model"  #: the saved folder of a run, inside of the run folder
UNSEALED = (CARD, RESULTS, manifest.MANIFEST)  #: files that may change after saving


@dataclass(frozen=True)
class Saved:
    """Contents of the ``config.json`` of a saved folder."""

    recipe: str
    sizes: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    added: Mapping[str, Mapping[str, Any]]  #: additions to the encoder, innermost first
    frontends: Mapping[str, Mapping[str, Any]]  #: modules before the encoder
    data: Mapping[str, str]  #: fingerprints of the training data, by name
    labels: Mapping[str, Sequence[str]]  #: names of the classes of heads
    task: str | None  #: task whose own parameters are saved with the system


def save(
    system: System,
    folder: str | Path,
    *,
    task: str | None = None,
    own: Mapping[str, Tensor] | None = None,
    training: Mapping[str, Any] | None = None,
    results: Sequence[Measured] = (),
) -> None:
    """Write a folder in the layout of the Hugging Face hub.

    ``model.safetensors``, ``config.json`` (recipe, sizes, heads, added parts, data, version), the files of the
    system's tokenizer where it has one, and ``README.md``, the model card. Where transformers has an equal class, it
    opens the folder, too.

    Args:
        system: all of it is written.
        folder: is made where it is not there.
        task: that the system was trained on, where the task has parts of its own.
        own: the parameters of these, such as a head that no recipe has; :func:`load` leaves them behind.
        training: lines for the card: seed, steps.
        results: measured values for the card.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    if not isinstance(system, System):
        raise UserError(f"a system is saved, as build and load give it, not a value of type {type(system).__name__}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, but a system is saved to a folder; name another place")
    recipe = find(system.recipe)
    form = None if system.added or system.frontends else recipe.transformers
    form = form if form is not None and form.fits(system.sizes) else None
    described: dict[str, Any] = {
        "mm_kptm": version("mm-kptm"),
        "recipe": system.recipe,
        "sizes": system.sizes,
        "heads": system.head_sizes,
        "added": system.added,
        "frontends": system.frontend_sizes,
        "data": system.data,
        "labels": system.labels,
        "task": task,
        "training": dict(training or {}),
    }
    written = dict(parameters(system))
    if form is not None:
        described = {**class_fields(form, system), **described}
        written = to_published(written, form, recipe.weights, system.sizes)
    written |= {TASK_PREFIX + name: tensor for name, tensor in (own or {}).items()}
    metadata = None if form is None else {"format": "pt"}
    (folder / manifest.MANIFEST).unlink(missing_ok=True)  # a folder that is half written is refused
    write_tensors(folder / WEIGHTS, {name: tensor.contiguous() for name, tensor in written.items()}, metadata)
    write_json(folder / CONFIG, described, indent=1, ascii_only=True)
    if system.has_tokenizer:
        system.tokenizer.save(folder)
    manifest.seal(folder, [path.name for path in sorted(folder.iterdir()) if path.name not in UNSEALED])
    if results:
        write_json(folder / RESULTS, [asdict(one) for one in results], indent=1)
    _write_card(folder)


def record_result(folder: str | Path, result: Measured) -> None:
    """Add a measured value to the card of a saved folder, in place of an older one of that measure and split.

    Raises:
        UserError: the folder cannot be written, or its ``results.json`` is broken.
    """
    folder = Path(folder)
    others = [one for one in _read_results(folder) if (one.split, one.measure) != (result.split, result.measure)]
    write_json(folder / RESULTS, [asdict(one) for one in (*others, result)], indent=1)
    _write_card(folder)


def _read_results(folder: Path) -> list[Measured]:
    if not (folder / RESULTS).is_file():
        return []
    try:
        return [
            Measured(**{**one, "interval": one["interval"] and tuple(one["interval"])})
            for one in cast("list[Any]", read_json(folder / RESULTS))
        ]
    except (TypeError, LookupError):
        raise UserError(f"{folder / RESULTS} holds no measured values; remove it and evaluate again") from None


def _write_card(folder: Path) -> None:
    said = read_config_file(folder / CONFIG)
    card = model_card(
        find(said["recipe"]),
        heads=list(said["heads"]),
        added=said["added"],
        data=said["data"],
        training=said["training"],
        results=_read_results(folder),
        in_transformers=said["architectures"][0] if "architectures" in said else None,
    )
    write_text(folder / CARD, card)


def read_saved(folder: str | Path) -> Saved | None:
    """The configuration of a saved folder; None if :func:`save` did not write it.

    Raises:
        UserError: its ``config.json`` is invalid.
    """
    path = Path(folder) / CONFIG
    if not is_saved(path.parent):
        return None
    try:
        said = read_config_file(path)
        sizes, heads = said["sizes"], said["heads"]
        added, frontends, data, labels = (said.get(name, {}) for name in ("added", "frontends", "data", "labels"))
        if not all(isinstance(part, dict) for part in (sizes, heads, added, frontends, data, labels)):
            raise ValueError
        if not isinstance(said["recipe"], str) or not all(isinstance(head, dict) for head in heads.values()):
            raise ValueError
        named = {head: tuple(map(str, names)) for head, names in labels.items()}
        return Saved(said["recipe"], sizes, heads, added, frontends, data, named, said.get("task"))
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path} does not say which system lies beside it; save the system again") from None


def saved_task_parameters(folder: str | Path, task: str) -> dict[str, Tensor]:
    """A task's own parameters in a saved folder; none if the folder was not saved with it.

    Raises:
        UserError: its ``config.json`` is invalid.
    """
    saved = read_saved(folder)
    if saved is None or saved.task != task:
        return {}
    tensors = _sealed_weights(Path(folder))
    return {name.removeprefix(TASK_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(TASK_PREFIX)}


def _sealed_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a saved folder, checked against its manifest; one that transformers saved again has none."""
    if (folder / manifest.MANIFEST).exists():
        way_out = f"save or fetch it again, or remove {manifest.MANIFEST} if the files were changed on purpose"
        manifest.verify(folder, required=(WEIGHTS, CONFIG), way_out=way_out, every_file=False)
    return read_weights(folder / WEIGHTS)


def load_saved(
    folder: Path,
    *,
    name: str | None = None,
    heads: Heads | None = None,
    fresh: Sequence[str] = (),
    seed: int | None = None,
) -> System:
    """Load a system from a folder written by :func:`save`, with its saved heads or others.

    Raises:
        UserError: the folder was not saved by :func:`save`, has another recipe than ``name``, or lacks parameters.
    """
    saved = read_saved(folder)
    if saved is None:
        if (kind := read_config_file(folder / CONFIG).get("model_type")) is not None:
            names = [name for name, recipe in catalogue().items() if kind in recipe.model_types][:3]
            listed = f" ({', '.join(names)} ...)" if names else ""
            raise UserError(
                f"{folder} was not saved by this suite; its model_type is {kind!r}, so name the system{listed} "
                "before it"
            )
        if (folder / CONFIG).is_file() and not read_config_file(folder / CONFIG):
            raise UserError(f"{folder / CONFIG} is an empty object, so it does not say which system lies beside it")
        raise UserError(f"{folder} is no folder with {CONFIG} and {WEIGHTS} that this suite saved")
    recipe = find(saved.recipe)
    if name is not None and name not in (recipe.name, recipe.family):
        raise UserError(f"{folder} holds {recipe.name}, but {name} was asked for")
    chosen = chosen_heads(recipe, saved.heads if heads is None else heads)
    sized = {head: {**saved.heads.get(head, {}), **chosen[head]} for head in chosen}
    with seeded_weights(seed):
        system = assemble(recipe, recipe.resolved_sizes(saved.sizes), sized)
        published = set(system.parameters())
        for addition, sizes in saved.added.items():
            add(system, addition, sizes)
        for frontend, sizes in saved.frontends.items():
            add_frontend(system, frontend, sizes)
    tensors = _sealed_weights(folder)
    unfilled = tuple(fresh)
    if recipe.transformers is not None:
        ours = {name for name, _ in system.named_parameters(remove_duplicate=False)}
        tensors = from_published(tensors, recipe.transformers, recipe.weights, system.sizes, ours)
    for parameter, value in system.named_parameters():
        if value not in published and parameter not in tensors and not parameter.startswith(unfilled):
            parts = " and ".join([*saved.added, *saved.frontends])
            raise UserError(
                f"{folder} says that it holds {recipe.name} with {parts}, but its {WEIGHTS} has no {parameter}; save "
                "the system again"
            )
    fill(system, fitted(TranslatedState(tensors=tensors), system, recipe, fresh))
    system.data = dict(saved.data)
    name_labels(system, saved.labels)
    give_tokenizer(system, folder)
    return system


def give_tokenizer(system: System, folder: Path) -> None:
    """Let a system cut texts with the tokenizer whose files lie in a folder, where there is one."""
    if not holds_tokenizer(folder):
        return
    recipe = find(system.recipe)
    if "text" not in recipe.reads or recipe.text.tokenizer == "characters":
        return
    system.tokenizer = tokenizer_of(system, folder, **read_options(folder)._asdict())


def tokenizer_of(
    system: System,
    source: Path | Mapping[str, bytes],
    *,
    lowercase: bool | None = None,
    ideographs: bool = True,
    segment_words: bool | None = None,
) -> TextTokenizer:
    """The tokenizer in a file, a folder, or files by their names, for one system; it is read when it is first used."""
    limits = _text_limits(system)
    return TextTokenizer(
        source,
        max_length=limits.max_length,
        vocab_size=limits.vocab_size,
        languages=limits.languages,
        lowercase=lowercase,
        ideographs=ideographs,
        segment_words=segment_words,
        siglip={"siglip": True, "t5": False}.get(find(system.recipe).text.tokenizer),
    )


def give_published_tokenizer(system: System) -> None:
    """Let a system that was published with CLIP's tokenizer have it, where it has none and its words fit."""
    recipe = find(system.recipe)
    if system.has_tokenizer or recipe.text.tokenizer != "clip" or not isinstance(system.encoder, DualEncoder):
        return
    if system.encoder.text_limits.vocab_size == CLIP_PIECES:
        system.tokenizer = tokenizer_of(system, published_merges())


def _text_limits(system: System) -> TextLimits:
    if isinstance(system.encoder, DualEncoder):
        return system.encoder.text_limits
    recipe = find(system.recipe)
    sizes = {**recipe.published_sizes(), **system.sizes}
    return TextLimits(
        max_length=int(sizes.get("max_positions", 512)) - int(sizes.get("position_offset", 0)),
        vocab_size=int(sizes["vocab_size"]),
        languages=recipe.text.languages if "languages" in recipe.reads else (),
    )


def in_run(folder: Path) -> Path:
    """The saved folder inside a run folder; any other folder as it is."""
    inside = folder / IN_RUN
    return inside if not is_saved(folder) and is_saved(inside) else folder


def is_saved(folder: Path) -> bool:
    config = folder / CONFIG
    return config.is_file() and (folder / WEIGHTS).is_file() and b'"mm_kptm"' in config.read_bytes()
