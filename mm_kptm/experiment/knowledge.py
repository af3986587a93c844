"""Knowledge modules that each ``knowledge.kind`` adds to an encoder published without them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.adaptation.layer_stack import text_stack
from mm_kptm.datasets.protocol import AuxiliaryObjective, PreparedData
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import KnowledgeSettings
from mm_kptm.knowledge.fusion.entity_embedding import WithVectors
from mm_kptm.knowledge.kinds.protocol import DataSizes, KnowledgeKind
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.systems import assembly
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import read_saved
from mm_kptm.systems.system import System

Sizes = Mapping[str, Any]


def additions(settings: KnowledgeSettings, recipe: Recipe) -> tuple[str, ...]:
    """Names of the knowledge modules that an experiment adds to an encoder, innermost first."""
    way = settings.way
    return () if way is None else tuple(one.name for one in way.parts(recipe, trainable=settings.trainable))


def apply_knowledge(
    system: System, settings: KnowledgeSettings, prepared: PreparedData, *, beside: Collection[str] = ()
) -> None:
    """Add knowledge modules to the encoder of a system, with fresh weights unless they were loaded with it.

    Args:
        system: changed in place.
        settings: which modules.
        prepared: the data, whose sizes they have.
        beside: names of parts that the experiment puts around the encoder on its own account.

    Raises:
        UserError: the system was loaded with other modules, sizes or entities, its encoder does not support the
            modules, or the data have no entity ids.
    """
    names = additions(settings, find(system.recipe))
    if system.added.keys() - {*names, *beside}:
        raise UserError(
            f"encoder.weights holds {system.recipe} with {' and '.join(system.added)}, but knowledge asks for "
            f"{' and '.join(names) or 'no added parts'}; let knowledge.kind and knowledge.trainable ask for what it "
            "holds, name it under encoder.added, or begin with other weights"
        )
    if (way := settings.way) is None:
        return
    for addition in way.parts(find(system.recipe), trainable=settings.trainable):
        table, loaded = addition is way.vector_table, addition.name in system.added
        sizes = _table_sizes(prepared) if table else way.sizes(_host(system, way, loaded), _data_sizes(prepared))
        if not loaded:
            assembly.add(system, addition.name, sizes)
            if table:
                _begin_with(prepared.vectors, system)
            continue
        _check_same(system.recipe, addition.name, system.added[addition.name], sizes)
        if table:
            _check_entities(system, prepared)


@torch.no_grad()
def _begin_with(vectors: Tensor | None, system: System) -> None:
    if vectors is not None and isinstance(system.encoder, WithVectors):
        system.encoder.entity_vectors.vectors.copy_(vectors)


def _host(system: System, way: KnowledgeKind, loaded: bool) -> SingleStream:
    """Single stream that hosts the knowledge modules, fresh or loaded."""
    encoder = system.encoder.encoder if isinstance(system.encoder, WithVectors) else system.encoder
    host = text_stack(encoder) if loaded else way.host(encoder)
    if not isinstance(host, SingleStream):
        raise UserError(
            f"knowledge.kind {way.name} was asked for with {system.recipe}, but its parts are put around an encoder "
            f"that {way.host_requirement}, which {system.recipe} does not; use one that does, such as uniter-base, or "
            "knowledge.kind sentence-tree"
        )
    return host


def _data_sizes(prepared: PreparedData) -> DataSizes:
    if "entity_dim" not in prepared.sizes:
        raise UserError(
            "knowledge.kind asks for parts that read facts, but these data give none that such parts could be "
            "sized by; choose knowledge.kind none, or data that do"
        )
    return DataSizes(prepared.sizes["entity_dim"], prepared.knowledge_bases)


def held_head(learnt: AuxiliaryObjective, weights: Path) -> dict[str, Mapping[str, int]]:
    """Sizes of the auxiliary fact-learning head by its name if the saved folder has it, else empty.

    Raises:
        UserError: the saved head was trained with another number of objects or relations.
    """
    saved, name = read_saved(weights), learnt.objective.name
    if saved is None or name not in saved.heads:
        return {}
    _check_same(saved.recipe, name, saved.heads[name], learnt.sizes)
    return {name: learnt.sizes}


def _check_same(recipe: str, name: str, held: Sizes, asked: Sizes) -> None:
    """Refuse data whose sizes differ from those of the loaded module."""
    ours, theirs = _flat(held), _flat(asked)
    for size in sorted(ours.keys() & theirs.keys()):
        if ours[size] != theirs[size]:
            raise UserError(
                f"encoder.weights holds {recipe} with {name} of {size} {ours[size]}, but the data of this experiment "
                f"ask for {theirs[size]}; use data like those it was trained on, or begin with other weights"
            )


def _check_entities(system: System, prepared: PreparedData) -> None:
    if system.data.get("vectors") != prepared.fingerprints.get("vectors"):
        raise UserError(
            "encoder.weights holds vectors that learnt the entities of another folder than knowledge.vectors names; "
            "name the one it began with, or begin with other weights"
        )


def _table_sizes(prepared: PreparedData) -> Sizes:
    if prepared.vectors is None:
        raise UserError("knowledge.trainable is true, but these data have no entities whose vectors could be trained")
    return dict(zip(("num_entities", "entity_dim"), prepared.vectors.shape, strict=True))


def _flat(sizes: Sizes, before: str = "") -> dict[str, Any]:
    """Flatten nested sizes to dotted keys."""
    flat: dict[str, Any] = {}
    for name, size in sizes.items():
        flat |= _flat(size, f"{before}{name}.") if isinstance(size, Mapping) else {before + name: size}
    return flat


def reinitialise(module: nn.Module, known: Iterable[nn.Module], std: float) -> None:
    """Re-draw the weights of a module with standard deviation ``std``, except in the submodules ``known``.

    Rows of a table that began as copies of others (its ``copied_rows``) are copies again.
    """
    loaded_parts = set(known)
    for part in module.modules():
        if part not in loaded_parts and not list(part.children()):
            bert_init(part, std)
            for row, source in getattr(part, "copied_rows", {}).items():
                with torch.no_grad():
                    part.get_parameter("weight")[row] = part.get_parameter("weight")[source]
