"""Recontextualisation: between two layers a text is told what its mentions may mean (Peters et al. 2019, section 3.3).

A :class:`Recontextualiser` links the candidates of one knowledge base, lets every word read the spans that now know
their entities, and so rewrites all states. Any single stream can have some, each behind a layer of its choice.

Shapes: T rows of the batch, Q rows that are asked for, S spans, C candidates, D dim, E entity dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mm_kptm.batch import Candidates, Inputs
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.entity_disambiguation import Decision, PriorScores, SpanPooling
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import Layer


class LinkedSpans(NamedTuple):
    """What a knowledge base has to say about the spans of a batch."""

    candidates: Candidates
    words: Tensor  #: the rows in the width of the entities, [T, E]
    pooled: Tensor  #: the spans by themselves, [S, E]
    spans: Tensor  #: the spans after they read each other, [S, E]
    scores: Tensor  #: [S, C]
    mixture: Tensor  #: the candidates of each span in one vector, [S, E]


class Linker(nn.Module):
    """Scores the candidates of every span in its context (Peters et al. 2019, section 3.2).

    Args:
        table: from entities [U] to vectors [U, E]; its ``null`` is the vector of no entity, or None.
        dim: D.
        entity_dim: E.
        layers: modules called with the spans [S, E] and their reading.
        decision: what scores lead to.
        name: of the knowledge base, for messages.
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
        """What the candidates are worth in the context of the rows ``x`` [T, D]."""
        words = project(self.down_proj, x)
        pooled = self.pool(words, candidates.spans)
        spans, reading = self.span_norm(pooled), self_attention_layout(candidates.layout)
        for layer in self.layers:
            spans = layer(spans, reading)
        vectors = self.vectors(candidates)
        scores = self.score(spans, vectors, candidates)
        mixture = self.decision.mix(scores, vectors, cast(Tensor | None, self.table.null))
        return LinkedSpans(candidates, words, pooled, spans, scores, mixture)

    def vectors(self, candidates: Candidates) -> Tensor:
        """Normed vectors of the candidates, [S, C, E]: those they come with, or each looked up once in the table.

        Raises:
            UserError: one of them is not in the table, or those they come with have another width.
        """
        if candidates.vectors is not None:
            return self._given(candidates.vectors)
        size = len(cast(Tensor, self.table.vectors))
        known, places = torch.unique(candidates.entities, return_inverse=True)
        if len(known) and not 0 <= int(known[0]) <= int(known[-1]) < size:
            stranger = int(known[-1]) if int(known[-1]) >= size else int(known[0])
            raise UserError(
                f"a candidate is entity {stranger}, but the entities of {self.name} are 0 to {size - 1}; number them "
                "by the vocabulary that the table was made with"
            )
        vectors: Tensor = self.entity_norm(self.table(known))
        return vectors[places]

    def _given(self, vectors: Tensor) -> Tensor:
        width = self.down_proj.out_features
        if vectors.shape[-1] != width:
            raise UserError(
                f"the candidates for {self.name} come with vectors of width {vectors.shape[-1]}, but it reads entities "
                f"of width {width}; build it with entity_dim={vectors.shape[-1]}"
            )
        return cast(Tensor, self.entity_norm(vectors.to(self.down_proj.weight.dtype)))


class Recontextualiser(nn.Module):
    """Words read the spans that know their entities, and are rewritten (section 3.3: the KAR).

    Args:
        linker: scores the candidates.
        read: a layer in which words read spans, both of width E.
        dim: D.
        entity_dim: E.
        dropout: of the mixture, and of what is added to the states.
    """

    def __init__(self, linker: Linker, read: Layer, dim: int, entity_dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.linker = linker
        self.told_norm = nn.LayerNorm(entity_dim)
        self.read = read
        self.up_proj = nn.Linear(entity_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def told(self, linked: LinkedSpans) -> Tensor:
        """The spans with what their candidates add, [S, E]."""
        return cast(Tensor, self.told_norm(linked.spans + self.drop(linked.mixture)))

    def reading(self, reading: AttentionLayout, linked: LinkedSpans) -> AttentionLayout:
        """The rows that ``reading`` asks for read the spans of their text."""
        return AttentionLayout(reading.queries, linked.candidates.layout, query_rows=reading.query_rows)

    def forward(self, x: Tensor, reading: AttentionLayout, linked: LinkedSpans) -> Tensor:
        """The asked rows of ``x`` [T, D] after they were told: [Q, D]."""
        words = self.read(linked.words, self.reading(reading, linked), self.told(linked))
        return cast(Tensor, self.norm(reading.query_states(x) + self.drop(project(self.up_proj, words))))


class Stop(NamedTuple):
    """The sequence behind a layer, or behind what one knowledge base has told it there."""

    stream: Stream
    depth: int  #: layers so far; 0 for the embedded sequence
    base: str | None  #: who has spoken, None for the layer itself
    linked: LinkedSpans | None


class RecontextualisedStream(SingleStream):
    """A single stream that knowledge bases speak to between its layers.

    Args:
        encoder: gives its embedder, layers and pooler, all shared.
        kars: one recontextualiser per knowledge base; behind the same layer they speak in alphabetical order.
        layers: the layer that each stands behind, counted from 0.

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
        """The sequence embedded, behind every layer, and behind every knowledge base."""
        return self._stops(inputs, self.embed(inputs))

    def _stops(self, inputs: Inputs, assembled: Assembled) -> Iterator[Stop]:
        stream = assembled.stream
        candidates = self._candidates(inputs, assembled)
        yield Stop(stream, 0, None, None)
        for depth, layer in enumerate(self.layers, start=1):
            stream = stream._replace(x=layer(stream.x, stream.attention))
            yield Stop(stream, depth, None, None)
            for name, kar in self._speakers(depth - 1):
                linked = kar.linker(stream.x, candidates[name])
                stream = stream._replace(x=kar(stream.x, stream.attention, linked))
                yield Stop(stream, depth, name, linked)

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The sequence at every depth: embedded, then after each layer and whatever stands behind it."""
        assembled: Assembled = self.embed(inputs)
        for x in self.states(inputs, assembled):
            yield assembled.stream._replace(x=x)

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """The rows [T, D] embedded, then after each layer and whatever stands behind it."""
        before: Stop | None = None
        for stop in self._stops(inputs, assembled):
            if before is not None and stop.depth > before.depth:
                yield before.stream.x
            before = stop
        if before is not None:
            yield before.stream.x

    def link(self, inputs: Inputs, name: str) -> LinkedSpans:
        """What the knowledge base ``name`` makes of its candidates; no layer beyond it runs.

        Raises:
            UserError: there is no such knowledge base, or the inputs have no candidates for it.
        """
        if name not in self.kars:
            raise UserError(f"no knowledge base {name!r} speaks here; there are {', '.join(self.kars) or 'none'}")
        if name not in (inputs.candidates or {}):
            raise UserError(f"mentions are to be linked to {name}, but the inputs have no candidates for it")
        return next(stop.linked for stop in self.stops(inputs) if stop.base == name and stop.linked is not None)

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """The final states of the rows that ``last`` asks for."""
        x, reading = assembled.stream.x, assembled.stream.attention
        candidates = self._candidates(inputs, assembled)
        *steps, (final, speaker) = self._steps()
        for step, base in steps:
            x = _taken(step, x, reading, candidates.get(base))
        return _taken(final, x, last, candidates.get(speaker))

    def _steps(self) -> Iterator[tuple[nn.Module, str]]:
        """Layers and what stands behind them, in order, with the name of the knowledge base or none."""
        for number, layer in enumerate(self.layers):
            yield layer, ""
            for name, kar in self._speakers(number):
                yield kar, name

    def _speakers(self, layer: int) -> list[tuple[str, Recontextualiser]]:
        return [(name, cast(Recontextualiser, self.kars[name])) for name, at in self.behind.items() if at == layer]

    def _candidates(self, inputs: Inputs, assembled: Assembled) -> dict[str, Candidates]:
        """The candidates for every knowledge base, their spans as rows of the sequence; none where none are given."""
        given = inputs.candidates or {}
        if strangers := given.keys() - self.kars.keys():
            raise UserError(
                f"there are candidates for {', '.join(sorted(strangers))}, but {', '.join(self.kars)} speak here"
            )
        layout, device = assembled.stream.layout, assembled.stream.x.device
        rows = torch.arange(layout.total, device=device)[assembled.text]
        found = {}
        for name in self.kars:
            one = given.get(name) or Candidates.none(len(layout), device)
            if len(one.layout) != len(layout):
                raise UserError(f"{len(layout)} texts have candidates for {name} in {len(one.layout)} texts")
            found[name] = replace(one, spans=torch.where(one.spans < 0, -1, rows[one.spans.clamp(min=0)]))
        return found


def _taken(step: nn.Module, x: Tensor, asked: AttentionLayout, candidates: Candidates | None) -> Tensor:
    """The asked rows of ``x`` after a layer, or after they were told of candidates."""
    told = () if candidates is None else (cast(Recontextualiser, step).linker(x, candidates),)
    rows: Tensor = step(x, asked, *told)
    return rows
