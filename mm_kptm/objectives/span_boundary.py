"""Masked spans with the span-boundary objective (Joshi et al. 2020, SpanBERT).

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
    r"""Span-boundary head: a token from boundary states and position (Joshi et al. 2020, section 3.2).

    .. math::
        h &= \mathrm{LN}(\mathrm{GeLU}(W_1 [x_{s-1}; x_{e+1}; p_{i-s+1}])) \\
        y_i &= \mathrm{LN}(\mathrm{GeLU}(W_2 h))

    with logits from the tied word embeddings. The sizes of the position embedding are the released code's.
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
        """Logits [S, V] from the concatenated boundary states [S, 2 D] and positions in the span from 0, [S]."""
        scores: Tensor = self.scores(torch.cat([around, self.place(places)], -1))
        return scores


@dataclass(frozen=True, eq=False)
class MaskedSpanText(RowTargets):
    """Inputs with masked spans, their labels and the boundaries of the spans."""

    bounded: Tensor  #: masked rows predicted from boundaries, as indices into ``rows``, [S]
    around: Tensor  #: boundary rows before and after the span of each, [S, 2]
    places: Tensor  #: position of each in its span, from 0, [S]


class MaskedSpans:
    """Masked spans, predicted from their own states and from their boundary states.

    As in the released code, special tokens are no boundaries, tokens beyond the last position of the table have no
    boundary loss, and the two means are added. An example is one sequence, without next-sentence prediction.

    Args:
        masking: draws the spans.
        num_places: positions of the head.
    """

    name = "masked-spans"
    heads = ("masked-tokens", "span-boundary")

    def __init__(self, masking: RunMasking, *, num_places: int = 20) -> None:
        self.masking = masking
        self.num_places = num_places

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MaskedSpanText:
        """Mask some spans of the text.

        Raises:
            UserError: there is no text to mask.
        """
        text = inputs.text
        if text is None:
            raise UserError("masked-spans masks text, but the inputs have none")
        shown, rows = self.masking.mask(text, generator)
        masked = torch.zeros(len(text.ids), dtype=torch.bool).index_fill(0, rows, True)
        specials = torch.isin(text.ids, torch.tensor(sorted(self.masking.masking.never), dtype=torch.long))
        bounded, around, places = boundaries(masked, specials, text.layout)
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
        """The cross-entropy of every masked token [P], and of those predicted from boundaries [S]."""
        rows = torch.cat([batch.rows, batch.around.flatten()])
        encoded: Encoded = system(batch.inputs, OutputRows({"text": rows}, pooled=False))
        own, around = encoded.text.split([len(batch.rows), 2 * len(batch.bounded)])
        token = F.cross_entropy(system.head("masked-tokens")(own), batch.labels, reduction="none")
        scores = system.head("span-boundary")(around.reshape(-1, 2 * own.shape[1]), batch.places)
        return token, F.cross_entropy(scores, batch.labels[batch.bounded], reduction="none")

    def loss(self, system: System, batch: MaskedSpanText) -> Tensor:
        """The mean of the token losses plus the mean of the boundary losses."""
        token, boundary = self.losses(system, batch)
        return mean(token) + mean(boundary)

    def measure(self, system: System, batch: MaskedSpanText) -> Tensor:
        """The same two means for each example, [B]."""
        token, boundary = self.losses(system, batch)
        own = mean_of_each(token, batch.sequence_ids, len(batch))
        return own + mean_of_each(boundary, batch.sequence_ids[batch.bounded], len(batch))


def boundaries(masked: Tensor, specials: Tensor, layout: SequenceLayout) -> tuple[Tensor, Tensor, Tensor]:
    """Masked rows whose span has a boundary token on both sides.

    Returns:
        their indices among the masked rows [S], boundary rows of their spans [S, 2], positions in the spans [S].
    """
    rows = masked.nonzero().squeeze(1)
    spans = touching(masked, rows, layout)[rows]
    _, lengths = torch.unique_consecutive(spans, return_counts=True)
    first = rows[torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])[:-1]]
    around = torch.stack([first - 1, first + lengths], -1)  # [spans, 2]
    sequence_ids = layout.sequence_ids(rows.device)
    inside = around.clamp(0, max(len(sequence_ids) - 1, 0))
    valid = (inside == around) & (sequence_ids[inside] == sequence_ids[first][:, None]) & ~specials[inside]
    bounded = valid.all(-1)[spans].nonzero().squeeze(1)
    return bounded, around[spans[bounded]], rows[bounded] - first[spans[bounded]]


def _masked_spans(context: ObjectiveContext) -> MaskedSpans:
    masking = everything(context.specials.mask_id, (0, context.vocab_size), context.specials.never_masked)
    return MaskedSpans(RunMasking(masking, CutSpans(rate=context.mask_rate)))


MASKED_SPANS = ObjectiveSpec("masked-spans", "Joshi et al. 2020, SpanBERT, TACL, section 3", _masked_spans)
