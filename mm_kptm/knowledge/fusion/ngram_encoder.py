"""ZEN's n-gram encoder: n-grams attend to each other and are added to the characters they cover (Diao et al. 2020).

Coverage is stored as pairs of row numbers, never as a matrix of characters by n-grams.

Shapes: T rows of the batch, G n-grams, M pairs of an n-gram and a covered row, D dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mm_kptm.batch import Candidates, Inputs, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled, required_text
from mm_kptm.nn.ragged import AttentionLayout, self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import bert_norm


class NgramEmbedding(nn.Module):
    """N-gram + segment embeddings, norm, dropout; no positions."""

    def __init__(self, num_ngrams: int, dim: int, *, num_segments: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.word = nn.Embedding(num_ngrams, dim)
        self.segment = nn.Embedding(num_segments, dim)
        self.norm = bert_norm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, numbers: Tensor, segments: Tensor) -> Tensor:
        """Embedding of n-grams by their lexicon ids and segments [G], [G, D].

        Raises:
            UserError: an id has no row in the table (checked on the CPU).
        """
        rows = self.word.num_embeddings
        if not numbers.is_cuda and len(numbers) and (last := int(numbers.max())) >= rows:
            raise UserError(
                f"n-gram {last} stands in a text, but the model has {rows} n-grams; build it with "
                f"num_ngrams={last + 1} or more"
            )
        embedded: Tensor = self.drop(self.norm(self.word(numbers) + self.segment(segments)))
        return embedded


class Covering(NamedTuple):
    """N-grams of a batch and the rows that they cover."""

    numbers: Tensor  #: ids in the lexicon, [G]
    firsts: Tensor  #: first covered token, [G]
    attention_layout: AttentionLayout  #: attention among the n-grams of a text
    rows: Tensor  #: covered row, [M]
    ngrams: Tensor  #: n-gram that covers it, [M]

    @classmethod
    def of(cls, candidates: Candidates, assembled: Assembled) -> Covering:
        """N-grams and covered rows of candidates; id 0 is padding."""
        device, layout = assembled.stream.x.device, assembled.stream.layout
        if len(candidates.layout) != len(layout):
            raise UserError(f"{len(layout)} texts have n-grams in {len(candidates.layout)} texts")
        spans, columns = (candidates.entities > 0).nonzero(as_tuple=True)
        sequence_ids = candidates.layout.sequence_ids(device)[spans]
        counts = torch.bincount(sequence_ids, minlength=len(layout)).tolist()
        first, last = candidates.spans[spans].unbind(1)
        lengths = last - first + 1
        covered = SequenceLayout(tuple(lengths.tolist()))
        ngrams = covered.sequence_ids(device)
        rows = torch.arange(layout.total, device=device)[assembled.text][
            first[ngrams] + covered.offsets_in_sequence(device)
        ]
        return cls(
            candidates.entities[spans, columns],
            first,
            self_attention_layout(SequenceLayout(tuple(counts))),
            rows,
            ngrams,
        )

    def add_to_rows(self, x: Tensor, ngrams: Tensor, layout: AttentionLayout) -> Tensor:
        """Queried rows [Q, D] plus the hidden states [G, D] of the n-grams that cover them."""
        rows, covers = self.rows, self.ngrams
        if layout.query_rows is not None:
            kept = torch.isin(rows, layout.query_rows)
            rows, covers = torch.searchsorted(layout.query_rows, rows[kept]), covers[kept]
        return x.index_add(0, rows, ngrams[covers].to(x.dtype))


class NgramStream(SingleStream):
    r"""Single stream with an n-gram encoder beside it (Diao et al. 2020, section 2.2).

    .. math:: v^{(l)} \leftarrow v^{(l)} + \sum_k u_k^{(l)}

    over the n-grams :math:`k` that cover a character. After the last n-gram layer, its output keeps being added to the
    hidden states of the characters, as in the released code.

    Args:
        encoder: source of the embedder, layers and pooler, all shared.
        embed_ngrams: embedding of n-grams.
        ngram_layers: one beside each of the first layers.

    Raises:
        UserError: there are more n-gram layers than layers, or none.
    """

    def __init__(self, encoder: SingleStream, embed_ngrams: NgramEmbedding, ngram_layers: Iterable[nn.Module]) -> None:
        super().__init__(encoder.embed, encoder.layers, encoder.pooler, dim=encoder.dim)
        self.embed_ngrams = embed_ngrams
        self.ngram_layers = nn.ModuleList(ngram_layers)
        if not 0 < len(self.ngram_layers) <= len(self.layers):
            raise UserError(
                f"{len(self.ngram_layers)} n-gram layers cannot stand beside {len(self.layers)} layers; give at least "
                "one and at most one a layer"
            )

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """Streams at every depth: embedded, then after each layer and the n-grams added to it."""
        assembled: Assembled = self.embed(inputs)
        for x in self.states(inputs, assembled):
            yield assembled.stream._replace(x=x)

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """Rows [T, D]: embedded, then after each layer and the n-grams added to it."""
        yield assembled.stream.x
        yield from self._depths(inputs, assembled, assembled.stream.attention)

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """Final hidden states of the queried rows of ``last``, [Q, D]."""
        *_, x = self._depths(inputs, assembled, last)
        return x

    def _depths(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Iterator[Tensor]:
        covering = self._covering(inputs, assembled)
        ngrams = self.embed_ngrams(covering.numbers, required_text(inputs).segments[covering.firsts])
        x = assembled.stream.x
        for number, layer in enumerate(self.layers):
            layout = last if number == len(self.layers) - 1 else assembled.stream.attention
            if number < len(self.ngram_layers):
                ngrams = self.ngram_layers[number](ngrams, covering.attention_layout)
            x = covering.add_to_rows(layer(x, layout), ngrams, layout)
            yield x

    def _covering(self, inputs: Inputs, assembled: Assembled) -> Covering:
        given = inputs.candidates or {}
        if strangers := given.keys() - {N_GRAMS}:
            raise UserError(
                f"there are candidates for {', '.join(sorted(strangers))}, but only {N_GRAMS} are read here"
            )
        device, texts = assembled.stream.x.device, len(assembled.stream.layout)
        return Covering.of(given.get(N_GRAMS) or Candidates.none(texts, device), assembled)
