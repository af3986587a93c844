"""Knowledge bases of KnowBERT by their sizes (Peters et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.entity_disambiguation import ByMargin, BySoftmax, Decision, SynsetTable, VectorTable
from mm_kptm.knowledge.fusion.kar import Linker, RecontextualisedStream, Recontextualiser
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer

Sizes = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Base:
    """Sizes of one knowledge base; the defaults are those of the released Wikipedia."""

    layer: int  #: index of the layer that it follows
    num_entities: int = 470_000  #: rows of its table, the four special entities included
    entity_dim: int = 300
    raw_dim: int = 0  #: width of synset vectors before projection; 0: vectors are used as they are
    class_dim: int = 25  #: width of the learned class vectors of synsets
    null: str = "table"  #: vector of no entity: ``none``, its row of the ``table``, or for synsets a ``learned`` one
    decision: str = "margin"  #: or ``softmax``
    threshold: float = 0.0  #: of ``margin``
    margin: float = 0.2  #: of ``margin``
    span_layers: int = 1
    span_heads: int = 4
    span_ffn_dim: int = 1024
    read_heads: int = 4
    read_ffn_dim: int = 1024

    @classmethod
    def of(cls, name: str, sizes: Sizes) -> Base:
        """From plain sizes, as in recipes and saved folders.

        Raises:
            UserError: a size does not exist, or the layer is missing.
        """
        known = [part.name for part in fields(cls)]
        for size in sizes:
            if size not in known:
                raise UserError(f"the knowledge base {name} has no size {size!r}; it has {', '.join(known)}")
        if "layer" not in sizes:
            raise UserError(f"the knowledge base {name} has no layer: the number of the layer that it speaks behind")
        return cls(**sizes)  # type: ignore[arg-type]  # names are checked above, kinds by what is built


def recontextualise(
    encoder: SingleStream, bases: Mapping[str, Sizes], *, dropout: float = 0.1
) -> RecontextualisedStream:
    """Insert the KARs of knowledge bases into a single stream; the new parameters are freshly initialised.

    Raises:
        UserError: the sizes of a knowledge base are invalid.
    """
    sized = {name: Base.of(name, sizes) for name, sizes in bases.items()}
    kars = {name: _kar(name, base, encoder.dim, dropout) for name, base in sorted(sized.items())}
    return RecontextualisedStream(encoder, kars, {name: base.layer for name, base in sized.items()})


def _kar(name: str, base: Base, dim: int, dropout: float) -> Recontextualiser:
    width = base.entity_dim
    spans = (
        bert_layer(width, base.span_heads, ffn_dim=base.span_ffn_dim, dropout=dropout) for _ in range(base.span_layers)
    )
    linker = Linker(_table(name, base, dropout), dim, width, spans, _decision(name, base), name=name)
    read = bert_layer(width, base.read_heads, ffn_dim=base.read_ffn_dim, dropout=dropout)
    kar = Recontextualiser(linker, read, dim, width, dropout=dropout)
    bert_init(kar)
    return kar


def _table(name: str, base: Base, dropout: float) -> VectorTable | SynsetTable:
    kinds = ("none", "learned") if base.raw_dim else ("none", "table")
    if base.null not in kinds:
        contents = "synsets through a map" if base.raw_dim else "vectors as they are"
        raise UserError(f"{name} holds {contents}, so its null cannot be {base.null!r}; it can be {' or '.join(kinds)}")
    if not base.raw_dim:
        return VectorTable(base.num_entities, base.entity_dim, null=base.null == "table")
    return SynsetTable(
        base.num_entities,
        base.raw_dim,
        base.class_dim,
        base.entity_dim,
        learned_null=base.null == "learned",
        dropout=dropout,
    )


def _decision(name: str, base: Base) -> Decision:
    if base.decision == "softmax":
        return BySoftmax()
    if base.decision != "margin":
        raise UserError(f"{name} cannot decide by {base.decision!r}; there are margin and softmax")
    if base.null == "none":
        raise UserError(f"{name} decides by a margin and so needs a vector of no entity; its null cannot be none")
    return ByMargin(base.threshold, base.margin)
