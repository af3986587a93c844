"""How facts reach an encoder that was published without them: what each ``knowledge.kind`` builds around it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.knowledge.adapter import adapt
from mm_kptm.knowledge.bases import Sizes, recontextualise
from mm_kptm.knowledge.entity_vectors import EntityVectors, WithVectors
from mm_kptm.knowledge.fusion import fuse
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.recipe import Recipe
from mm_kptm.tasks.supply import Prepared

BUILT = ("fusion", "recontextualise", "adapter")  #: the kinds that add parts to an encoder
READ_NATIVELY = {"fusion": "entities"}  #: the stream of a recipe that needs no such parts
SET = "factual"  #: what the adapters are called


def added(kind: str, recipe: Recipe) -> bool:
    """Whether an experiment with this kind adds parts that the recipe does not build."""
    return kind in BUILT and READ_NATIVELY.get(kind) not in recipe.reads


def informed(encoder: nn.Module, kind: str, recipe: Recipe, prepared: Prepared) -> SingleStream:
    """An encoder with the parts that read facts, fresh ones; all of its own are shared.

    Raises:
        UserError: it is no plain single stream of layers.
    """
    if not isinstance(encoder, SingleStream) or type(encoder) is not SingleStream:
        raise UserError(
            f"knowledge.kind {kind} was asked for with {recipe.name}, which is no plain single stream of layers to add "
            "its parts to; use one that is, such as uniter-base, or knowledge.kind tree"
        )
    width, dropout = prepared.sizes["entity_dim"], _dropout(encoder)
    if kind == "fusion":
        return fuse(encoder, entity_dim=width, dropout=dropout)
    if kind == "adapter":
        return adapt(encoder, [SET], width=width, num_heads=4, ffn_dim=4 * width, dropout=dropout)
    base: Sizes = {
        "layer": (len(encoder.layers) - 1) // 2,  # in the middle, so that what it tells can still be read
        "num_entities": 4,  # the candidates come with their vectors
        "entity_dim": width,
        "null": "none",
        "decision": "softmax",
        "span_ffn_dim": 4 * width,
        "read_ffn_dim": 4 * width,
    }
    return recontextualise(encoder, dict.fromkeys(prepared.bases, base), dropout=dropout)


def learning(encoder: nn.Module, kind: str, prepared: Prepared) -> nn.Module:
    """An encoder whose entity vectors learn with it; of another kind than fusion, as it is.

    Raises:
        UserError: the data number no entities.
    """
    if kind != "fusion":
        return encoder
    if prepared.vectors is None:
        raise UserError("knowledge.trainable is true, but these data have no entities whose vectors could be trained")
    return WithVectors(encoder, EntityVectors(prepared.vectors))


def spread(module: nn.Module, known: Iterable[nn.Module], std: float) -> None:
    """Draw the fresh weights of a module anew, those of its parts that are ``known`` left as they are."""
    kept = set(known)
    for part in module.modules():
        if part not in kept and not list(part.children()):
            bert_init(part, std)


def _dropout(encoder: SingleStream) -> float:
    """That of the layers, which the published systems give to the new parts as well."""
    rates = [part.p for part in encoder.layers.modules() if isinstance(part, nn.Dropout)]
    return rates[0] if rates else 0.0
