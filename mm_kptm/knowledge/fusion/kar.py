"""Knowledge attention and recontextualisation, KAR (Peters et al. 2019, section 3.3).

A :class:`Recontextualiser` links the candidates of one knowledge base, lets every word attend to the entity-enriched
spans, and updates all hidden states. It can be inserted after any layer of any single stream.

Shapes: T rows of the batch, Q queried rows, S spans, C candidates, D dim, E entity dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mm_kptm.batch import Candidates, Inputs
from mm_kptm.batch.rows import copied, on_host
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.entity_disambiguation import Decision, PriorScores, SpanPooling
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import Layer


class LinkedSpans(NamedTuple):
    """Linked spans of a batch: pooled and contextual spans, candidate scores and entity mixture."""

    candidates: Candidates
    words: Tensor  #: rows projected to entity width, [T, E]
    pooled: Tensor  #: pooled spans, [S, E]
    spans: Tensor  #: spans after attention among themselves, [S, E]
    scores: Tensor  #: [S, C]
    mixture: Tensor  #: mixture of the candidates of each span, [S, E]


class Linker(nn.Module):
    """Entity linker: scores the candidates of every span in context (Peters et al. 2019, section 3.2).

    Args:
        table: maps entity ids [U] to vectors [U, E]; its ``null`` is the vector of no entity, or None.
        dim: D.
        entity_dim: E.
        layers: modules called with the spans [S, E] and their attention layout.
        decision: decision rule over the scores.
        name: name of the knowledge base, for messages.
    """

    def __init__(
        self, table: nn.Module, dim: int, entity_dim: int, layers: Iterable[nn.Module], decision: Decision, *, name: str
    ) -> None:
        super().__init__()
        self.table = table
        self.down_proj = nn.Linear(dim, entity_dim)
        self.pool = SpanPooling(entity_dim)
        self.span_norm = nn.LayerNorm(entity_dim)
        self.entity_norm = nn.LayerNorm(entity_dim)
        self.layers = nn.ModuleList(layers)
        self.score = PriorScores()
        self.decision = decision
        self.name = name

    def forward(self, x: Tensor, candidates: Candidates) -> LinkedSpans:
        """Link the candidates in the context of the rows ``x`` [T, D]."""
        words = project(self.down_proj, x)
        pooled = self.pool(words, candidates.spans)
        spans, attention_layout = self.span_norm(pooled), self_attention_layout(candidates.layout)
        for layer in self.layers:
            spans = layer(spans, attention_layout)
        vectors = self.vectors(candidates)
        scores = self.score(spans, vectors, candidates)
        mixture = self.decision.mix(scores, vectors, cast(Tensor | None, self.table.null))
        return LinkedSpans(candidates, words, pooled, spans, scores, mixture)

    def vectors(self, candidates: Candidates) -> Tensor:
        """Normalised candidate vectors, [S, C, E]: those of the candidates, or those of the table, each looked up once.

        Raises:
            UserError: an entity is not in the table, or the vectors of the candidates have another width.
        """
        if candidates.vectors is not None:
            return self._given(candidates.vectors)
        size = len(cast(Tensor, self.table.vectors))
        device = candidates.entities.device
        known, positions = torch.unique(on_host(candidates.entities), return_inverse=True)
        if len(known) and not 0 <= int(known[0]) <= int(known[-1]) < size:
            stranger = int(known[-1]) if int(known[-1]) >= size else int(known[0])
            raise UserError(
                f"a candidate is entity {stranger}, but the entities of {self.name} are 0 to {size - 1}; number them "
                "by the vocabulary that the table was made with"
            )
        vectors: Tensor = self.entity_norm(self.table(copied(known, device)))
        return vectors[copied(positions, device)]

    def _given(self, vectors: Tensor) -> Tensor:
        width = self.down_proj.out_features
        if vectors.shape[-1] != width:
            raise UserError(
                f"the candidates for {self.name} come with vectors of width {vectors.shape[-1]}, but it reads entities "
                f"of width {width}; build it with entity_dim={vectors.shape[-1]}"
            )
        return cast(Tensor, self.entity_norm(vectors.to(self.down_proj.weight.dtype)))


class Recontextualiser(nn.Module):
    """KAR layer: words attend to entity-enriched spans (Peters et al. 2019, section 3.3).

    Args:
        linker: scores the candidates.
        read: a layer with attention from words to spans, both of width E.
        dim: D.
        entity_dim: E.
        dropout: of the mixture and of the residual update.
    """

    def __init__(self, linker: Linker, read: Layer, dim: int, entity_dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.linker = linker
        self.told_norm = nn.LayerNorm(entity_dim)
        self.read = read
        self.up_proj = nn.Linear(entity_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def enriched(self, linked: LinkedSpans) -> Tensor:
        """Entity-enriched spans: norm(spans + mixture), [S, E]."""
        return cast(Tensor, self.told_norm(linked.spans + self.drop(linked.mixture)))

    def attention_layout(self, attention_layout: AttentionLayout, linked: LinkedSpans) -> AttentionLayout:
        """Attention layout from the queried rows to the spans of their text."""
        return AttentionLayout(
            attention_layout.queries, linked.candidates.layout, query_rows=attention_layout.query_rows
        )

    def forward(self, x: Tensor, attention_layout: AttentionLayout, linked: LinkedSpans) -> Tensor:
        """Queried rows of ``x`` [T, D] after the residual update, [Q, D]."""
        words = self.read(linked.words, self.attention_layout(attention_layout, linked), self.enriched(linked))
        return cast(Tensor, self.norm(attention_layout.query_states(x) + self.drop(project(self.up_proj, words))))


class Stop(NamedTuple):
    """Hidden states after a layer, or after the KAR of one knowledge base."""

    stream: Stream
    depth: int  #: layers so far; 0 for the embeddings
    base: str | None  #: knowledge base of the KAR, None for a layer
    linked: LinkedSpans | None


class RecontextualisedStream(SingleStream):
    """Single stream with KARs of several knowledge bases between its layers.

    Args:
        encoder: source of the embedder, layers and pooler, all shared.
        kars: one recontextualiser per knowledge base; those after the same layer run in alphabetical order.
        layers: index of the layer that each one follows.

    Raises:
        UserError: there is no such layer.
    """

    def __init__(self, encoder: SingleStream, kars: Mapping[str, Recontextualiser], layers: Mapping[str, int]) -> None:
        super().__init__(encoder.embed, encoder.layers, encoder.pooler, dim=encoder.dim)
        for name, layer in layers.items():
            if not 0 <= layer < len(self.layers):
                raise UserError(f"{name} cannot speak behind layer {layer}; the layers are 0 to {len(self.layers) - 1}")
        self.kars = nn.ModuleDict({name: kars[name] for name in sorted(kars)})
        self.behind = {name: layers[name] for name in sorted(kars)}

    def stops(self, inputs: Inputs) -> Iterator[Stop]:
        """Hidden states: embedded, after every layer, and after every KAR."""
        return self._stops(inputs, self.embed(inputs))

    def _stops(self, inputs: Inputs, assembled: Assembled) -> Iterator[Stop]:
        stream = assembled.stream
        candidates = self._candidates(inputs, assembled)
        yield Stop(stream, 0, None, None)
        for depth, layer in enumerate(self.layers, start=1):
            stream = stream._replace(x=layer(stream.x, stream.attention))
            yield Stop(stream, depth, None, None)
            for name, kar in self._kars_after(depth - 1):
                linked = kar.linker(stream.x, candidates[name])
                stream = stream._replace(x=kar(stream.x, stream.attention, linked))
                yield Stop(stream, depth, name, linked)

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """Streams at every depth: embedded, then after each layer and the KARs that follow it."""
        assembled: Assembled = self.embed(inputs)
        for x in self.states(inputs, assembled):
            yield assembled.stream._replace(x=x)

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """Rows [T, D]: embedded, then after each layer and the KARs that follow it."""
        before: Stop | None = None
        for stop in self._stops(inputs, assembled):
            if before is not None and stop.depth > before.depth:
                yield before.stream.x
            before = stop
        if before is not None:
            yield before.stream.x

    def link(self, inputs: Inputs, name: str) -> LinkedSpans:
        """Linked spans of the knowledge base ``name``; later layers do not run.

        Raises:
            UserError: there is no such knowledge base, or the inputs have no candidates for it.
        """
        if name not in self.kars:
            raise UserError(f"no knowledge base {name!r} speaks here; there are {', '.join(self.kars) or 'none'}")
        if name not in (inputs.candidates or {}):
            raise UserError(f"mentions are to be linked to {name}, but the inputs have no candidates for it")
        return next(stop.linked for stop in self.stops(inputs) if stop.base == name and stop.linked is not None)

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """Final hidden states of the queried rows of ``last``, [Q, D]."""
        x, attention_layout = assembled.stream.x, assembled.stream.attention
        candidates = self._candidates(inputs, assembled)
        *steps, (final, final_base) = self._steps()
        for step, base in steps:
            x = _apply_step(step, x, attention_layout, candidates.get(base))
        return _apply_step(final, x, last, candidates.get(final_base))

    def _steps(self) -> Iterator[tuple[nn.Module, str]]:
        """Layers and KARs in order, with the name of the knowledge base, empty for a layer."""
        for number, layer in enumerate(self.layers):
            yield layer, ""
            for name, kar in self._kars_after(number):
                yield kar, name

    def _kars_after(self, layer: int) -> list[tuple[str, Recontextualiser]]:
        return [(name, cast(Recontextualiser, self.kars[name])) for name, at in self.behind.items() if at == layer]

    def _candidates(self, inputs: Inputs, assembled: Assembled) -> dict[str, Candidates]:
        """Candidates of every knowledge base, with spans as rows of the batch; empty where none are given."""
        given = inputs.candidates or {}
        if strangers := given.keys() - self.kars.keys():
            raise UserError(
                f"there are candidates for {', '.join(sorted(strangers))}, but {', '.join(self.kars)} speak here"
            )
        layout, device = assembled.stream.layout, assembled.stream.x.device
        text = assembled.text if isinstance(assembled.text, slice) else on_host(assembled.text)
        token_rows = torch.arange(layout.total)[text]
        found = {}
        for name in self.kars:
            one = given.get(name) or Candidates.none(len(layout), device)
            if len(one.layout) != len(layout):
                raise UserError(f"{len(layout)} texts have candidates for {name} in {len(one.layout)} texts")
            spans = on_host(one.spans)
            rows = torch.where(spans < 0, -1, token_rows[spans.clamp(min=0)])
            found[name] = replace(one, spans=copied(rows, device))
        return found


def _apply_step(step: nn.Module, x: Tensor, layout: AttentionLayout, candidates: Candidates | None) -> Tensor:
    """Queried rows of ``x`` after a layer, or after a KAR with its candidates."""
    linked = () if candidates is None else (cast(Recontextualiser, step).linker(x, candidates),)
    rows: Tensor = step(x, layout, *linked)
    return rows
