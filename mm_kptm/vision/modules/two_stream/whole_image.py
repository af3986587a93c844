"""The whole-image region and the task token of ViLBERT's streams.

Shapes: T token rows, R region rows, F width of region features, B texts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Inputs, Regions, Rows, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.steps import Pair, Stream
from mm_kptm.vision.modules.assembly import TextBesideRegions


def rows_but(layout: SequenceLayout, place: int, device: torch.device) -> Tensor:
    """All rows except those at offset ``place`` of their sequence, in order."""
    return (layout.offsets_in_sequence(device) != place).nonzero().squeeze(1)


def with_place(layout: SequenceLayout) -> SequenceLayout:
    """The layout with one more row in every non-empty sequence."""
    return SequenceLayout(tuple(length + (length > 0) for length in layout.lengths))


def filled(layout: SequenceLayout, device: torch.device) -> Tensor:
    """True where a sequence has rows, [B]."""
    return torch.tensor(layout.lengths, device=device) > 0


def prepend_whole_image(regions: Regions) -> Regions:
    """Prepend a region that covers the whole image (Lu et al. 2019, section 2.3).

    Its feature is ``regions.whole_image`` or, where that is missing, the mean of the image's regions; without either
    there is no image. Detector outputs are dropped, because the whole image has none.

    Raises:
        UserError: ``regions.whole_image`` has not one feature per image.
    """
    features, layout, device = regions.features, regions.layout, regions.features.device
    if regions.whole_image is None:
        owners = layout.sequence_ids(device)
        counts = torch.tensor(layout.lengths, dtype=features.dtype, device=device).clamp(min=1)
        whole = features.new_zeros(len(layout), features.shape[1]).index_add(0, owners, features) / counts[:, None]
        framed = with_place(layout)
    else:
        whole = regions.whole_image
        if len(whole) != len(layout):
            raise UserError(f"there are {len(layout)} images, but {len(whole)} features of whole images")
        framed = SequenceLayout(tuple(length + 1 for length in layout.lengths))
    own = rows_but(framed, 0, device)
    firsts, shown = framed.starts(device)[filled(framed, device)], whole[filled(framed, device)]
    x = features.new_zeros(framed.total, features.shape[1])
    x = x.index_copy(0, own, features).index_copy(0, firsts, shown.to(features.dtype))
    boxes = regions.boxes.new_zeros(framed.total, 4).index_copy(0, own, regions.boxes)
    boxes[firsts, 2:] = 1.0
    masked = None
    if regions.masked is not None:
        masked = torch.zeros(framed.total, dtype=torch.bool, device=device).index_copy(0, own, regions.masked)
    return Regions(x, boxes, framed, masked=masked)


class TextBesideImage(TextBesideRegions):
    """Embedder of tokens on the left, and the whole image followed by its regions on the right.

    :meth:`token_rows` and :meth:`region_rows` map the rows of the inputs to those of the two streams.
    """

    def forward(self, inputs: Inputs) -> Pair:
        regions = inputs.regions
        return super().forward(inputs if regions is None else inputs.with_streams(regions=prepend_whole_image(regions)))

    def token_rows(self, layout: SequenceLayout, device: torch.device) -> Rows:
        """Rows of the left stream that are tokens of the inputs."""
        return EVERY_ROW

    def region_rows(self, layout: SequenceLayout, device: torch.device) -> Rows:
        """Rows of the right stream that are regions of the inputs."""
        return rows_but(layout, 0, device)


class TextBesidePlainRegions(TextBesideImage):
    """The same without the whole image: the regions as they are given."""

    def forward(self, inputs: Inputs) -> Pair:
        return TextBesideRegions.forward(self, inputs)

    def region_rows(self, layout: SequenceLayout, device: torch.device) -> Rows:
        """All rows."""
        return EVERY_ROW


class TaskBesideImage(TextBesideImage):
    """The same with a task token as second row of every text (12-in-1, Lu et al. 2020, section 3.2).

    The task has neither position nor segment, and the positions of words do not shift. ``tokens.tasks`` is the task id,
    0 by default.

    Raises:
        UserError: a task has no row in the table (checked on the CPU).
    """

    PLACE = 1
    text: TextEmbedding

    def __init__(self, text: TextEmbedding, regions: nn.Module, *, region_dim: int, num_tasks: int) -> None:
        super().__init__(text, regions, region_dim=region_dim)
        self.task = nn.Embedding(num_tasks, text.word.embedding_dim)

    def forward(self, inputs: Inputs) -> Pair:
        pair, text = super().forward(inputs), inputs.text
        if text is None:
            return pair
        left, device, layout = pair.left.x, text.ids.device, with_place(text.layout)
        own, asked = rows_but(layout, self.PLACE, device), layout.offsets_in_sequence(device) == self.PLACE
        x = left.new_zeros(layout.total, left.shape[1]).index_copy(0, own, left)
        x = x.index_copy(0, asked.nonzero().squeeze(1), self._tasks(text).to(left.dtype))
        mask = None if text.attention_mask is None else text.attention_mask.scatter(own, layout.total)
        return Pair(Stream.of(x, layout, mask), pair.right)

    def _tasks(self, text: Tokens) -> Tensor:
        """The embedded task of every text that has tokens, normalised as words are, [B', D]."""
        firsts = text.layout.starts(text.ids.device)[filled(text.layout, text.ids.device)]
        asked = torch.zeros_like(firsts) if text.tasks is None else text.tasks[firsts]
        rows = self.task.num_embeddings
        if not asked.is_cuda and len(asked) and (last := int(asked.max())) >= rows:
            raise UserError(
                f"a text is asked task {last}, but the model has {rows} tasks; build it with num_tasks={last + 1}"
            )
        embedded: Tensor = self.text.drop(self.text.norm(self.task(asked)))
        return embedded

    def token_rows(self, layout: SequenceLayout, device: torch.device) -> Rows:
        """All rows except the task tokens."""
        return rows_but(layout, self.PLACE, device)
