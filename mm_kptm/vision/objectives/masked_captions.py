"""Captioning by masked-word prediction under a causal mask (Oscar, VLP).

Shapes: B examples, T token rows, P masked tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import RowTargets, mean, mean_of_each
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.caption_mask import CausalCaption
from mm_kptm.vision.objectives.soft_targets import label_smoothing_kl


@dataclass(frozen=True)
class CaptionShare:
    """A share of every caption, at least one token and at most ``at_most``.

    Args:
        rate: share of the length of the caption.
        beside: added to the number of maskable tokens to get the length: 1 where the caption's [CLS] counts (Oscar), -1
            where its [SEP], which may be masked, does not (VLP).
        at_most: maximum number of masked tokens of a caption.
    """

    rate: float = 0.15
    beside: int = 1
    at_most: int = 3

    def __call__(self, draws: Tensor, may: Tensor, layout: SequenceLayout) -> Tensor:
        masked = torch.zeros_like(may)
        for first, length in zip(layout.offsets, layout.lengths, strict=False):
            rows = first + may[first : first + length].nonzero().squeeze(1)
            count = min(self.at_most, max(1, round(self.rate * (len(rows) + self.beside))), len(rows))
            masked[rows[draws[rows].argsort()[:count]]] = True
        return masked


class MaskedCaptions:
    """Masked words of a caption, predicted from earlier words, tags and regions (Li et al. 2020, section 4).

    The caption is segment 0, whose [SEP] may be masked, to learn where captions end. It needs the head masked-tokens.

    Args:
        masking: of tokens, with :class:`CaptionShare` as its policy and [CLS] among those that are never masked.
        smoothing: label smoothing, the total probability of all other words.
        drop_worst: the share of predictions with the largest losses that is ignored; 0.2 in the published training
            after its first 20,000 steps, 0 before.
    """

    name = "masked-captions"
    head = "masked-tokens"

    def __init__(self, masking: Masking, *, smoothing: float = 0.1, drop_worst: float = 0.0) -> None:
        self.masking = masking
        self.smoothing = smoothing
        self.drop_worst = drop_worst

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> RowTargets:
        """Mask words of the captions, and set the causal attention mask.

        Raises:
            UserError: there is no text.
        """
        if inputs.text is None:
            raise UserError(f"{self.name} masks words of captions, but the inputs have no text")
        caption = inputs.text.segments == 0
        units = torch.where(caption, torch.arange(inputs.text.rows), -1)
        masked, rows = self.masking.mask(inputs.text, generator, groups=units)
        shown = replace(masked, attention_mask=CausalCaption(caption))
        sequence_ids = inputs.text.layout.sequence_ids(rows.device)[rows]
        return RowTargets(inputs.with_streams(text=shown), rows, inputs.text.ids[rows], sequence_ids)

    def losses(self, system: System, batch: RowTargets) -> Tensor:
        """The smoothed divergence of every masked word, [P]."""
        encoded: Encoded = system(batch.inputs, OutputRows({"text": batch.rows}, pooled=False))
        scores = system.head(self.head)(encoded.text)
        return label_smoothing_kl(scores, batch.labels, smoothing=self.smoothing)

    def loss(self, system: System, batch: RowTargets) -> Tensor:
        """The mean over the masked words, without the dropped share."""
        losses = self.losses(system, batch)
        kept = int(len(losses) * (1 - self.drop_worst))
        return mean(losses if kept == len(losses) else losses.topk(kept, largest=False).values)

    def measure(self, system: System, batch: RowTargets) -> Tensor:
        """The mean over the masked words of each example, [B]."""
        return mean_of_each(self.losses(system, batch), batch.sequence_ids, len(batch))
