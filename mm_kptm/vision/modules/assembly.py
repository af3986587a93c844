"""Text and regions in one sequence, or side by side.

Shapes: T token rows, R region rows as the texts see them.
"""

import torch
from torch import nn

from mm_kptm.batch import EVERY_ROW, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import Assembled, join
from mm_kptm.nn.steps import Pair, SharedSequences, Stream


class TextThenRegions(nn.Module):
    """The tokens of every text, directly followed by the regions of its image (Chen et al. 2020, section 3.1).

    An image is embedded once, however many texts share it. Either part may be missing. The attention mask of the text
    (K-BERT's branches) is kept; regions belong to the trunk.

    Raises:
        UserError: the inputs have neither text nor regions.
    """

    def __init__(self, text: nn.Module, regions: nn.Module) -> None:
        super().__init__()
        self.text = text
        self.regions = regions

    def forward(self, inputs: Inputs) -> Assembled:
        tokens, regions = inputs.text, inputs.regions
        if tokens is None:
            if regions is None:
                raise UserError("this model reads text, regions or both, but the inputs have neither")
            return Assembled(Stream.of(self.regions(regions), regions.layout), {"regions": EVERY_ROW})
        if regions is None:
            return Assembled(Stream.of(self.text(tokens), tokens.layout, tokens.attention_mask), {"text": EVERY_ROW})
        shown, rows = inputs.repeat_shared()
        joint = join(tokens.layout, shown, tokens.ids.device)
        embedded = self.regions(regions)
        x = joint.rows(self.text(tokens), embedded if rows is EVERY_ROW else embedded.index_select(0, rows))
        mask = None if tokens.attention_mask is None else tokens.attention_mask.scatter(joint.left, joint.layout.total)
        return Assembled(Stream.of(x, joint.layout, mask), {"text": joint.left, "regions": joint.right})


class TextBesideRegions(nn.Module):
    """The tokens of every text on the left, the regions of its image on the right (Tan and Bansal 2019, section 2.1).

    An image is embedded once, however many texts share it. A missing part has no rows: every text then has an image
    without regions, every image a text without words.

    Raises:
        UserError: the inputs have neither text nor regions.
    """

    def __init__(self, text: nn.Module, regions: nn.Module, *, region_dim: int) -> None:
        super().__init__()
        self.text = text
        self.regions = regions
        self.region_dim = region_dim

    def forward(self, inputs: Inputs) -> Pair:
        tokens, regions = inputs.text, inputs.regions
        if tokens is None:
            if regions is None:
                raise UserError("this model reads text, regions or both, but the inputs have neither")
            tokens = Tokens.of([()] * len(regions.layout)).to(regions.features.device)
        left = Stream.of(self.text(tokens), tokens.layout, tokens.attention_mask)
        if regions is None:
            none = SequenceLayout((0,) * len(tokens.layout))
            regions = Regions(left.x.new_zeros(0, self.region_dim), left.x.new_zeros(0, 4), none)
            return Pair(left, Stream.of(self.regions(regions), none))
        layout, rows = inputs.repeat_shared()
        shown = SharedSequences(layout, rows) if isinstance(rows, torch.Tensor) else None
        return Pair(left, Stream.of(self.regions(regions), regions.layout, shared=shown))
