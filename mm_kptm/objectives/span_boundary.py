"""Masked spans, predicted from within and from their boundaries (Joshi et al. 2020, SpanBERT).

Shapes: T token rows, P predicted rows, S of them in spans with two boundaries, D dim, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Inputs, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import TiedVocabulary, Transform
from mm_kptm.nn.sublayers import Activation
from mm_kptm.objectives.rows import RowTargets, mean, mean_of_each
from mm_kptm.objectives.spans import CutSpans, RunMasking, everything, touching
from mm_kptm.objectives.spec import ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.system import System


class SpanBoundary(nn.Module):
    r"""The words of a span from the two tokens around it and the place in it (Joshi et al. 2020, section 3.2).

    .. math::
        h &= \mathrm{LN}(\mathrm{GeLU}(W_1 [x_{s-1}; x_{e+1}; p_{i-s+1}])) \\
        y_i &= \mathrm{LN}(\mathrm{GeLU}(W_2 h))

    scored against the word embeddings, as masked tokens are. The sizes of the places are the released code's.
    """

    def __init__(
        self,
        dim: int,
        word: nn.Embedding,
        *,
        num_places: int = 20,
        place_dim: int = 200,
        activation: str | Activation = "gelu",
    ) -> None:
        super().__init__()
        self.place = nn.Embedding(num_places, place_dim)
        transform = nn.Sequential(
            Transform(2 * dim + place_dim, dim, activation=activation), Transform(dim, activation=activation)
        )
        self.scores = TiedVocabulary(transform, word)

    def forward(self, around: Tensor, places: Tensor) -> Tensor:
        """The states before and behind a span side by side [S, 2 D], and places in it from 0 [S]: [S, V]."""
        scores: Tensor = self.scores(torch.cat([around, self.place(places)], -1))
        return scores


@dataclass(frozen=True, eq=False)
class MaskedSpanText(RowTargets):
    """Inputs with hidden spans, what stood there, and where the boundaries of the spans are."""

    bounded: Tensor  #: which of the hidden rows are told by boundaries, [S]
    around: Tensor  #: the rows before and behind the span of each, [S, 2]
    places: Tensor  #: how far each is from the first row of its span, [S]


class MaskedSpans:
    """Predict hidden spans twice: each token from its own state, and from the states around its span.

    As in the released code, markers of beginning and end are no boundaries, tokens behind the last place are told by
    no boundary, and the two means are added. There is one sequence to an example and no next-sentence prediction.

    Args:
        masking: draws the spans.
        num_places: of the head.
    """

    name = "masked-spans"
    heads = ("masked-tokens", "span-boundary")

    def __init__(self, masking: RunMasking, *, num_places: int = 20) -> None:
        self.masking = masking
        self.num_places = num_places

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedSpanText:
        """Hide some spans of the text.

        Raises:
            UserError: there is no text to hide.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-spans hides text, but the inputs have none")
        shown, rows = self.masking.mask(text, generator)
        hidden = torch.zeros(len(text.ids), dtype=torch.bool).index_fill(0, rows, True)
        markers = torch.isin(text.ids, torch.tensor(sorted(self.masking.masking.never), dtype=torch.long))
        bounded, around, places = boundaries(hidden, markers, text.layout)
        kept = places < self.num_places
        return MaskedSpanText(
            inputs.with_streams(text=shown),
            rows,
            text.ids[rows],
            text.layout.sequence_ids(rows.device)[rows],
            bounded[kept],
            around[kept],
            places[kept],
        )

    def losses(self, system: System, batch: MaskedSpanText) -> tuple[Tensor, Tensor]:
        """The cross-entropy of every hidden token [P], and of those told by boundaries again [S]."""
        rows = torch.cat([batch.rows, batch.around.flatten()])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": rows}, pooled=False))
        own, around = encoded.text.split([len(batch.rows), 2 * len(batch.bounded)])
        alone = F.cross_entropy(system.head("masked-tokens")(own), batch.labels, reduction="none")
        told = system.head("span-boundary")(around.reshape(-1, 2 * own.shape[1]), batch.places)
        return alone, F.cross_entropy(told, batch.labels[batch.bounded], reduction="none")

    def loss(self, system: System, batch: MaskedSpanText) -> Tensor:
        """The mean over hidden tokens plus the mean over those told by boundaries."""
        alone, told = self.losses(system, batch)
        return mean(alone) + mean(told)

    def measure(self, system: System, batch: MaskedSpanText) -> Tensor:
        """The same two means for each example, [B]."""
        alone, told = self.losses(system, batch)
        own = mean_of_each(alone, batch.sequence_ids, len(batch))
        return own + mean_of_each(told, batch.sequence_ids[batch.bounded], len(batch))


def boundaries(hidden: Tensor, markers: Tensor, layout: SequenceLayout) -> tuple[Tensor, Tensor, Tensor]:
    """Which hidden rows, counted among themselves, have tokens on both sides of their span.

    Returns:
        them [S], the rows before and behind their spans [S, 2], and their places in the spans [S].
    """
    rows = hidden.nonzero().squeeze(1)
    spans = touching(hidden, rows, layout)[rows]
    _, lengths = torch.unique_consecutive(spans, return_counts=True)
    first = rows[torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])[:-1]]
    around = torch.stack([first - 1, first + lengths], -1)  # [spans, 2]
    owners = layout.sequence_ids(rows.device)
    inside = around.clamp(0, max(len(owners) - 1, 0))
    good = (inside == around) & (owners[inside] == owners[first][:, None]) & ~markers[inside]
    bounded = good.all(-1)[spans].nonzero().squeeze(1)
    return bounded, around[spans[bounded]], rows[bounded] - first[spans[bounded]]


def _masked_spans(context: ObjectiveContext) -> MaskedSpans:
    masking = everything(context.specials.mask, (0, context.vocab_size), context.specials.never_hidden)
    return MaskedSpans(RunMasking(masking, CutSpans(rate=context.mask_rate)))


MASKED_SPANS = ObjectiveSpec("masked-spans", "Joshi et al. 2020, SpanBERT, TACL, section 3", _masked_spans)
