"""How facts reach an encoder that was published without them: what each ``knowledge.kind`` puts around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mm_kptm.adaptation.side_adapter import published_depths
from mm_kptm.datasets.protocol import AuxiliaryObjective, PreparedData
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import KnowledgeSettings
from mm_kptm.knowledge.fusion.entity_embedding import WithVectors
from mm_kptm.knowledge.fusion.ernie import published_kinds
from mm_kptm.knowledge.recipes.additions import ADAPTER, FUSION, RECONTEXTUALISE, VECTORS
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.systems import assembly
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import read_saved
from mm_kptm.systems.system import System

BUILT = (FUSION.name, RECONTEXTUALISE.name, ADAPTER.name)  #: the kinds that add parts to an encoder
READ_NATIVELY = {FUSION.name: "entities"}  #: the stream of a recipe that needs no such parts
SET = "factual"  #: what the adapters are called

Sizes = Mapping[str, Any]


def additions(settings: KnowledgeSettings, recipe: Recipe) -> tuple[str, ...]:
    """The names of what an experiment puts around an encoder of a recipe, the innermost first."""
    parts = (settings.kind,) if settings.kind in BUILT and READ_NATIVELY.get(settings.kind) not in recipe.reads else ()
    return (*parts, VECTORS.name) if settings.trainable and settings.kind == FUSION.name else parts


def apply_knowledge(system: System, settings: KnowledgeSettings, prepared: PreparedData) -> None:
    """Put what reads or keeps facts around the encoder of a system, with fresh weights but where it was loaded with it.

    Raises:
        UserError: it was loaded with other parts, sizes or entities, it is no plain single stream, or the data number
            no entities.
    """
    names = additions(settings, find(system.recipe))
    if system.added.keys() - set(names):
        raise UserError(
            f"encoder.weights holds {system.recipe} with {' and '.join(system.added)}, but knowledge asks for "
            f"{' and '.join(names) or 'no added parts'}; let knowledge.kind and knowledge.trainable ask for what it "
            "holds, or begin with other weights"
        )
    for name in names:
        sizes = _table_sizes(prepared) if name == VECTORS.name else _sizes(name, system, prepared)
        if name not in system.added:
            _put(system, name, sizes, prepared)
            continue
        _check_same(system.recipe, name, system.added[name], sizes)
        if name == VECTORS.name:
            _check_entities(system, prepared)


def _put(system: System, name: str, sizes: Sizes, prepared: PreparedData) -> None:
    if name != VECTORS.name and type(system.encoder) is not SingleStream:
        raise UserError(
            f"knowledge.kind {name} was asked for with {system.recipe}, which is no plain single stream of layers to "
            "add its parts to; use one that is, such as uniter-base, or knowledge.kind sentence-tree"
        )
    assembly.add(system, name, sizes)
    if name == VECTORS.name and isinstance(system.encoder, WithVectors) and prepared.vectors is not None:
        with torch.no_grad():
            system.encoder.entity_vectors.vectors.copy_(prepared.vectors)


def held_head(learnt: AuxiliaryObjective, weights: Path) -> dict[str, Mapping[str, int]]:
    """The head of facts to be learnt, with its sizes, where a saved folder has it; nothing otherwise.

    Raises:
        UserError: it was trained on as many objects or relations as there are elsewhere.
    """
    saved, name = read_saved(weights), learnt.objective.name
    if saved is None or name not in saved.heads:
        return {}
    _check_same(saved.recipe, name, saved.heads[name], learnt.sizes)
    return {name: learnt.sizes}


def _check_same(recipe: str, name: str, held: Sizes, asked: Sizes) -> None:
    """Refuse data that tell other facts than those of the loaded part."""
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


def _sizes(kind: str, system: System, prepared: PreparedData) -> Sizes:
    """Those of the parts that a kind adds: as wide as the data tell facts, else as suits the encoder."""
    encoder = system.encoder.encoder if isinstance(system.encoder, WithVectors) else system.encoder
    if not isinstance(encoder, SingleStream):
        return {}
    width, depth = prepared.sizes["entity_dim"], len(encoder.layers)
    if kind == FUSION.name:
        sizes = {"entity_dim": width, "kinds": list(published_kinds(depth))}
    elif kind == ADAPTER.name:
        depths = list(published_depths(depth))
        sizes = {"sets": [SET], "depths": depths, "width": width, "num_heads": 4, "ffn_dim": 4 * width}
    else:
        base = {
            "layer": (depth - 1) // 2,  # in the middle, so that what it tells can still be read
            "num_entities": 4,  # the candidates come with their vectors
            "entity_dim": width,
            "null": "none",
            "decision": "softmax",
            "span_ffn_dim": 4 * width,
            "read_ffn_dim": 4 * width,
        }
        sizes = {"bases": dict.fromkeys(prepared.knowledge_bases, base)}
    return {**sizes, "dropout": _dropout(encoder)}


def _table_sizes(prepared: PreparedData) -> Sizes:
    if prepared.vectors is None:
        raise UserError("knowledge.trainable is true, but these data have no entities whose vectors could be trained")
    return dict(zip(("num_entities", "entity_dim"), prepared.vectors.shape, strict=True))


def _flat(sizes: Sizes, before: str = "") -> dict[str, Any]:
    """Sizes of sizes by the names of both, with a dot between."""
    flat: dict[str, Any] = {}
    for name, size in sizes.items():
        flat |= _flat(size, f"{before}{name}.") if isinstance(size, Mapping) else {before + name: size}
    return flat


def reinitialise(module: nn.Module, known: Iterable[nn.Module], std: float) -> None:
    """Draw the fresh weights of a module anew, those of its parts that are ``known`` left as they are."""
    kept = set(known)
    for part in module.modules():
        if part not in kept and not list(part.children()):
            bert_init(part, std)


def _dropout(encoder: SingleStream) -> float:
    """That of the layers, which the published systems give to the new parts as well."""
    rates = [part.p for part in encoder.layers.modules() if isinstance(part, nn.Dropout)]
    return rates[0] if rates else 0.0
