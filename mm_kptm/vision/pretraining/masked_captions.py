"""Captions that are learned by filling in hidden words, each seeing the words before it alone (Oscar, VLP).

Shapes: B examples, T token rows, P hidden tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import NONE, Encoded, Inputs, Layout, Wanted
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import MaskedText, Masking, mean, mean_of_each
from mm_kptm.vision.modules.caption_visibility import CausalCaption
from mm_kptm.vision.pretraining.divergences import smoothed_divergences


@dataclass(frozen=True)
class CaptionShare:
    """A share of every caption, at least one token and at most ``at_most``.

    Args:
        rate: of the length of the caption.
        beside: what the length counts beside the tokens that may be hidden: 1 where the caption's [CLS] counts (Oscar),
            -1 where its [SEP], which may be hidden, does not (VLP).
        at_most: tokens of a caption.
    """

    rate: float = 0.15
    beside: int = 1
    at_most: int = 3

    def __call__(self, draws: Tensor, may: Tensor, layout: Layout) -> Tensor:
        hidden = torch.zeros_like(may)
        for first, length in zip(layout.offsets, layout.lengths, strict=False):
            rows = first + may[first : first + length].nonzero().squeeze(1)
            count = min(self.at_most, max(1, round(self.rate * (len(rows) + self.beside))), len(rows))
            hidden[rows[draws[rows].argsort()[:count]]] = True
        return hidden


class MaskedCaptions:
    """Predict hidden words of a caption from the words before it, the tags and the regions (Li et al. 2020, section 4).

    The caption is segment 0, whose [SEP] may be hidden, by which the end is learned. It needs the head masked-tokens.

    Args:
        masking: of tokens, with :class:`CaptionShare` as its choice and [CLS] among those that are never hidden.
        smoothing: the share of a label that all other words have together.
        drop_worst: the share of predictions with the largest losses that do not count; 0.2 in the published training
            after its first 20,000 steps, 0 before.
    """

    name = "masked-captions"
    head = "masked-tokens"

    def __init__(self, masking: Masking, *, smoothing: float = 0.1, drop_worst: float = 0.0) -> None:
        self.masking = masking
        self.smoothing = smoothing
        self.drop_worst = drop_worst

    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> MaskedText:
        """Hide words of the captions, and captions from everything else.

        Raises:
            UserError: there is no text.
        """
        if inputs.text is None:
            raise UserError(f"{self.name} hides words of captions, but the inputs have no text")
        caption = inputs.text.segments == 0
        units = torch.where(caption, torch.arange(inputs.text.rows), -1)
        hidden, rows = self.masking.hide(inputs.text, generator, units=units)
        shown = replace(hidden, sees=CausalCaption(caption))
        owners = inputs.text.layout.owners(rows.device)[rows]
        return MaskedText(replace(inputs, text=shown), rows, inputs.text.ids[rows], owners)

    def losses(self, system: nn.Module, puzzle: MaskedText) -> Tensor:
        """The smoothed divergence of every hidden word, [P]."""
        encoded: Encoded = system(puzzle.inputs, Wanted(tokens=puzzle.rows, regions=NONE, pooled=False))
        scores = system.head(self.head)(encoded.tokens)  # type: ignore[operator]
        return smoothed_divergences(scores, puzzle.labels, smoothing=self.smoothing)

    def loss(self, system: nn.Module, puzzle: MaskedText) -> Tensor:
        """The mean over the hidden words that count."""
        losses = self.losses(system, puzzle)
        kept = int(len(losses) * (1 - self.drop_worst))
        return mean(losses if kept == len(losses) else losses.topk(kept, largest=False).values)

    def measure(self, system: nn.Module, puzzle: MaskedText) -> Tensor:
        """The mean over the hidden words of each example, [B]."""
        return mean_of_each(self.losses(system, puzzle), puzzle.owners, len(puzzle))
